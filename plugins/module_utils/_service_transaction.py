# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing a service's set into force, step by step, so that a run may be killed after any of them.

Before the swap nothing that a daemon would load has changed; the swap is one rename; after it the pending mark makes the next run
finish. On a failure the set that was proved last is put back, applied and proved.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _isolated, _proof
from ansible_collections.jellynet.jellyfin.plugins.module_utils._record import RecordError
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_folder import (
    FolderError,
    ServiceFolder,
    owner_ids,
    temporary_staging,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_plan import Plan, diff, make_plan
from ansible_collections.jellynet.jellyfin.plugins.module_utils._service_set import (
    EMPTY,
    LINKS,
    UNITS,
    Manifest,
    ServiceSet,
    concerns_systemd,
    generation_of,
)
from ansible_collections.jellynet.jellyfin.plugins.module_utils._systemd import Systemd, SystemdError, UnitState

STEPS = (
    "stage", "check", "trial", "place", "units", "links", "mark", "swap",
    "daemon_reload", "apply", "prove", "enable", "clear", "purge",
)  # fmt: skip
_SETTLE = 0.5
_EXPECTED = (OSError, FolderError, RecordError, SystemdError, _proof.ProofError)


class ServiceError(Exception):
    """The set could not be brought into force; the message says why and what is in force now."""

    def __init__(self, message: str, step: str, rolled_back: bool | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.rolled_back = rolled_back
        """True: the old set is proved again. False: it is not. None: nothing had been changed."""


@dataclasses.dataclass
class Result:
    """What a run did, or in check mode would do."""

    changed: bool = False
    generation: str = ""
    previous: str = ""
    resumed: bool = False
    unchecked: list[str] = dataclasses.field(default_factory=list)
    replaced: list[str] = dataclasses.field(default_factory=list)
    actions: list[str] = dataclasses.field(default_factory=list)
    gap_ms: int | None = None
    diff: list[dict[str, str]] = dataclasses.field(default_factory=list)


class Transaction:
    """One run of one service."""

    def __init__(
        self,
        folder: ServiceFolder,
        wanted: ServiceSet,
        systemd: Systemd,
        *,
        checks: Sequence[Mapping[str, Any]] = (),
        trial: Mapping[str, Any] | None = None,
        conflicts: Sequence[str] = (),
        timeout: float = 30.0,
        on_step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.folder = folder
        self.wanted = wanted
        self.systemd = systemd
        self.checks = checks
        self.trial = trial
        self.conflicts = list(conflicts)
        self.timeout = timeout
        self.on_step = on_step
        self.step = ""
        self.result = Result(generation=wanted.generation)
        self.begun = time.time()

    def run(self, check_mode: bool = False) -> Result:
        """Compare, and change what differs; ServiceError when that does not work."""
        try:
            if not check_mode:
                self.folder.close_staging()  # a killed run may have left it
            plan = make_plan(self.folder, self.wanted, self.systemd, self.conflicts)
            self._refuse(plan, check_mode)
        except _EXPECTED as problem:
            raise ServiceError(f"{_because(problem)} Nothing was changed.", "compare") from problem
        self.result.changed = plan.changed
        self.result.previous = "" if generation_of(plan.proved) == EMPTY else generation_of(plan.proved)
        self.result.resumed = plan.resumed
        self.result.replaced = plan.replaced
        self.result.diff = diff(plan, self.folder)
        if check_mode:
            self._rehearse(plan)
        elif plan.to_apply:
            self._transact(plan)
        elif plan.changed:
            self._tidy(plan.current)
        return self.result

    def _done(self, step: str) -> None:
        self.step = step
        self.on_step(step)

    def _refuse(self, plan: Plan, check_mode: bool) -> None:
        for service in self.wanted.services:
            state = plan.states[service.name]
            if state.masked and (service.state == "started" or service.enabled):
                raise FolderError(
                    f"{service.name} is masked on this host: run `systemctl unmask {service.name}` if it may run."
                )
            if not state.exists and service.name not in self.wanted.units and "@" not in service.name:
                if not check_mode:
                    raise FolderError(f"{service.name} is not on this host: install its package first.")
                self.result.unchecked.append(f"{service.name} is not on this host yet.")
        if not check_mode:
            for entry in self.wanted.entries:
                owner_ids(entry)

    # Check mode

    def _rehearse(self, plan: Plan) -> None:
        if not plan.rebuild or not (self.checks or self.trial):
            return
        parent = temporary_staging()
        try:
            staged = self.folder.stage(self.wanted, parent, plan.in_force, lenient=True)
            self._check(staged, check_mode=True)
            self._try(staged, check_mode=True)
        except OSError as problem:
            raise ServiceError(f"Check mode could not stage the files: {problem}.", "stage") from problem
        finally:
            shutil.rmtree(parent, ignore_errors=True)

    # Before anything in force is touched

    def _prepare(self, plan: Plan) -> str:
        """Stage, check and try the set; the path of the staged folder."""
        try:
            for name in self.folder.leftovers(plan.current):
                if name not in plan.in_force:
                    self.folder.remove_leftover(name)
            self.folder.open_staging()
            staged = self.folder.stage(self.wanted, self.folder.staging, plan.in_force)
            self._done("stage")
            self._check(staged)
            self._done("check")
            self._try(staged)
            self._done("trial")
            return staged
        except (OSError, FolderError) as problem:
            self._abandon()
            if isinstance(problem, OSError) and not problem.filename:
                problem.filename = self.folder.path  # a full disk is told of a file that is open already
            raise ServiceError(
                f"The new files of {self.wanted.name} could not be staged: {_because(problem)} Nothing was changed.",
                "stage",
            ) from problem
        except ServiceError:
            self._abandon()
            raise

    def _abandon(self) -> None:
        self.folder.close_staging()
        for path in (self.folder.path, self.folder.base):
            with contextlib.suppress(OSError):
                os.rmdir(path)  # only when we made it just now

    def _view(self, staged: str, tmpfs: Sequence[str]) -> _isolated.View:
        links = {path: self.folder.target(path) for path in self.wanted.links}
        return _isolated.View(self.folder.path, staged, links, tmpfs)

    def _check(self, staged: str, check_mode: bool = False) -> None:
        for check in self.checks:
            words = _proof.words_of(check["argv"])
            if self._lacks(check, words, check_mode):
                continue
            try:
                code, said = _isolated.check(
                    self._view(staged, check.get("tmpfs") or ()), _program(check), self.timeout
                )
            except _isolated.Missing as problem:
                self._missing("check", words, str(problem), check_mode)
            except _isolated.Denied as problem:
                self._denied("checked", words, str(problem))
            except OSError as problem:
                raise ServiceError(f"{words} could not be run: {problem}. Nothing was changed.", "check") from problem
            else:
                if code:
                    raise ServiceError(
                        f"The new files of {self.wanted.name} were refused by {words} (exit code {code}); nothing was changed. It said:\n{said}",
                        "check",
                    )

    def _try(self, staged: str, check_mode: bool = False) -> None:
        if not self.trial:
            return
        trial, words = self.trial, _proof.words_of(self.trial["argv"])
        if self._lacks(trial, words, check_mode):
            return
        questions = [proof for proof in self.wanted.proof if "url" in proof]

        def ask(seconds: float, dead: Callable[[], str]) -> None:
            _proof.prove(questions, self.wanted.generation, seconds, hopeless=dead)

        try:
            why = _isolated.trial(
                self._view(staged, trial.get("tmpfs") or ()),
                _program(trial),
                ask,
                self.timeout,
                0.2 if questions else 2.0,
            )
        except _isolated.Missing as problem:
            self._missing("trial", words, str(problem), check_mode)
        except _isolated.Denied as problem:
            self._denied("tried", words, str(problem))
        except OSError as problem:
            raise ServiceError(f"{words} could not be tried: {problem}. Nothing was changed.", "trial") from problem
        else:
            if why:
                raise ServiceError(
                    f"The new files of {self.wanted.name} did not stand a trial start of {words}; nothing was changed. {why}",
                    "trial",
                )

    def _lacks(self, check: Mapping[str, Any], words: str, check_mode: bool) -> bool:
        lacking = [path for path in check.get("needs") or () if not os.path.exists(path)]
        if lacking and check_mode:
            self.result.unchecked.append(f"{words} was not run: {', '.join(lacking)} is not there yet.")
        return bool(lacking and check_mode)

    def _missing(self, step: str, words: str, problem: str, check_mode: bool) -> None:
        if not check_mode:
            raise ServiceError(
                f"{words} can't be run: {problem}. Nothing was changed; install what is missing first.", step
            )
        self.result.unchecked.append(f"{words} was not run: {problem}.")

    def _denied(self, done: str, words: str, problem: str) -> None:
        self.result.unchecked.append(
            f"The files were not {done} by {words}: this host allows no namespaces ({problem})."
        )

    # Into force

    def _transact(self, plan: Plan) -> None:
        staged = self._prepare(plan) if plan.rebuild else ""
        new, touched = "", False
        try:
            current = self.folder.begin()
            old = plan.proved or EMPTY
            in_force = [name for name in dict.fromkeys((current, old)) if name in self.folder.folders()]
            new = current
            if staged:
                new = self.folder.place(staged)
                self.folder.close_staging()
            self._done("place")
            self._units(plan, in_force)
            self._done("units")
            self._links(plan, in_force)
            self._done("links")
            effects, before = plan.effects(), plan.before()
            self.folder.set_mark({"old": old, "new": new, "effects": effects, "before": before})
            self._done("mark")
            touched = True
            if new != current:
                self.folder.swap(new)
            self._done("swap")
            if plan.reload_systemd():
                self.systemd.daemon_reload()
            self._done("daemon_reload")
            self._remember(plan, before)
            self._apply(plan, effects)
            self._done("apply")
            self._prove(self.wanted.proof, self.wanted.generation, generation_of(old))
            self._done("prove")
            self._enable(plan)
            self._done("enable")
            self.folder.clear_mark()
            self._done("clear")
        except _EXPECTED as problem:
            self._undo(plan, new, touched, problem)
        self._tidy(new)

    def _units(self, plan: Plan, in_force: Sequence[str]) -> None:
        for unit in plan.units:
            self.folder.take_unit(unit, self.wanted.units[unit], in_force)

    def _links(self, plan: Plan, in_force: Sequence[str]) -> None:
        for path in plan.links:
            self.folder.take(path, in_force)

    def _remember(self, plan: Plan, before: Mapping[str, Mapping[str, bool]]) -> None:
        """What the distribution's units were like before we first touched them."""
        for unit in [service.name for service in self.wanted.services] + plan.conflicts:
            if plan.states[unit].exists and unit not in self.wanted.units:
                self.folder.record.remember("unit_states", unit, {**before[unit], "by": self.wanted.name})

    def _apply(self, plan: Plan, effects: Mapping[str, str]) -> None:
        wanted = self.wanted
        states = self.systemd.states([*plan.states, *(service.name for service in wanted.services)])
        stop = [unit for unit in [*plan.dropped, *wanted.wanted("stopped")] if states[unit].up]
        if stop:
            self._act("stop", *reversed(stop))
        self._bring_up(wanted.wanted("started"), states, effects, [unit for unit in self.conflicts if states[unit].up])

    def _bring_up(
        self,
        units: Sequence[str],
        states: Mapping[str, UnitState],
        effects: Mapping[str, str],
        conflicts: Sequence[str] = (),
    ) -> None:
        """Start what is down, reload or restart what has to; who is in the way is stopped at the last moment."""
        todo: dict[str, str] = {}
        for unit in units:
            state = states[unit]
            if not state.running:
                # A start under way may have read the files from before, and to start it once more would only wait for that one.
                stale = state.active == "activating" and (unit in effects or state.sub == "auto-restart")
                todo[unit] = "restart" if stale else "start"
            elif unit in effects:
                todo[unit] = "reload" if effects[unit] == "reload" and state.can_reload else "restart"
        if any(unit.endswith(".socket") for unit in todo):
            # A socket can't be made, nor made anew, while its service runs.
            running = [unit for unit in units if unit.endswith(".service") and states[unit].up]
            if running:
                self._act("stop", *reversed(running))
            todo = {
                unit: "start" if unit in running else todo[unit] for unit in units if unit in running or unit in todo
            }
        self.systemd.reset_failed([unit for unit in todo if states[unit].active == "failed"])
        begun = time.monotonic()
        if conflicts:
            self._act("stop", *conflicts)
        services = [unit for unit in units if unit.endswith(".service")]
        for unit, verb in todo.items():
            if unit.endswith(".socket"):
                self._act_on_socket(verb, unit, services)
            else:
                self._act(verb, unit)
        if conflicts:
            self.result.gap_ms = round((time.monotonic() - begun) * 1000)

    def _act_on_socket(self, verb: str, unit: str, services: Sequence[str]) -> None:
        """Refused while its service runs; whoever asks at another socket of that service starts it again."""
        for _turn in range(5):
            try:
                return self._act(verb, unit)
            except SystemdError:
                states = self.systemd.states(services) if services else {}
                again = [service for service in services if states[service].up]
                if not again:
                    raise
                # Once down it may be up again before the next call; a restart of the socket takes a service that is PartOf= it along.
                self._act("stop", *reversed(again))
                self.systemd.reset_failed([unit])
                verb = "restart"
        self._act(verb, unit)

    def _act(self, verb: str, *units: str) -> None:
        self.result.actions.extend(f"{verb} {unit}" for unit in units)
        if verb == "stop":
            self.systemd.stop(units)
        elif verb == "start":
            self.systemd.start(units[0])
        elif verb == "reload":
            self.systemd.reload(units[0])
        else:
            self.systemd.restart(units[0])

    def _prove(
        self, proof: Sequence[Mapping[str, Any]], generation: str, before: str, units: Sequence[str] | None = None
    ) -> None:
        """The units run and the listeners answer with the generation; ProofError when they don't in time."""
        units = self.wanted.wanted("started") if units is None else units
        deadline = time.monotonic() + self.timeout

        def dead() -> str:
            return " ".join(
                f"{state.name} is {state.words()}." for state in self.systemd.states(units).values() if not state.up
            )

        _proof.prove(proof, generation, self.timeout, own_units=set(units), before=before, hopeless=dead)
        while True:
            first = self.systemd.states(units)
            if all(state.running for state in first.values()) or time.monotonic() > deadline or dead():
                break
            time.sleep(0.2)
        if not proof and units:  # nothing to ask: at least it has to stay
            time.sleep(_SETTLE)
        last = self.systemd.states(units)
        sentences = [f"{state.name} is {state.words()}." for state in last.values() if not state.running]
        sentences += [
            f"{name} was started again by systemd: it does not stay."
            for name, state in last.items()
            if state.running and not proof and state.invocation != first[name].invocation
        ]
        if sentences:
            raise _proof.ProofError(sentences)

    def _enable(self, plan: Plan) -> None:
        wanted = [service.name for service in self.wanted.services if service.enabled]
        unwanted = [service.name for service in self.wanted.services if service.enabled is False]
        states = self.systemd.states([*wanted, *unwanted, *plan.dropped, *self.conflicts])
        fresh = [unit for unit in wanted if unit in plan.units and states[unit].can_be_enabled]
        self.systemd.enable(fresh, again=True)
        self.systemd.enable(
            [unit for unit in wanted if unit not in fresh and states[unit].can_be_enabled and not states[unit].enabled]
        )
        self.systemd.disable([unit for unit in [*unwanted, *plan.dropped, *self.conflicts] if states[unit].enabled])

    def _tidy(self, keep: str) -> None:
        try:
            self._purge(keep)
        except _EXPECTED as problem:
            raise ServiceError(
                f"{self.wanted.name}: the files are in force and proved, but what is no longer needed could not be removed: {_because(problem)}",
                "purge",
            ) from problem
        self._done("purge")

    def _purge(self, keep: str) -> None:
        """Give back the paths that are no longer ours, and remove what lay behind them."""
        known = self.folder.manifest(keep).files
        again = self._give_back(known)
        for place in self.folder.strays(keep):
            self.folder.drop_stub(keep, place)
        if again:
            with contextlib.suppress(SystemdError):
                self.systemd.daemon_reload()
        for name in self.folder.leftovers(keep):
            self.folder.remove_leftover(name)
        self.folder.close_staging()

    def _give_back(self, known: Mapping[str, Any]) -> bool:
        """Release all paths that a manifest does not know; whether systemd has to look again."""
        again = False
        for kind, path in list(self.folder.all_taken()):
            place = LINKS + path if kind == LINKS else f"{UNITS}/{path}"
            if place in known:
                self.folder.sweep(path if kind == LINKS else self.folder.unit_path(path))
            elif kind == LINKS:
                self.folder.release(path)
            else:
                self.folder.release_unit(path)
            again = again or (place not in known and concerns_systemd(place))
        return again

    # Back

    def _undo(self, plan: Plan, new: str, touched: bool, problem: Exception) -> None:
        """Put back what was proved last; always raises."""
        name, step = self.wanted.name, _STEP_WORDS.get(self._next_step(), "bringing the files into force")
        because = _because(problem) + self._advice(problem) + self._journal(problem)
        if not touched:
            back = self._put_back_files(plan, new)
            raise ServiceError(
                f"{name}: {step} failed: {because}\n{back or 'Nothing in force was changed.'}",
                self._next_step(),
                None if not back else False,
            ) from problem
        old = plan.proved or EMPTY
        if old == new:
            self._restart_conflicts(plan)
            raise ServiceError(
                f"{name}: {step} failed: {because}\nIts files were right already and were not changed; the next run tries again.",
                self._next_step(),
                False,
            ) from problem
        failed_step = self._next_step()
        try:
            self._back_to(plan, old)
        except _EXPECTED as again:
            raise ServiceError(
                f"{name}: {step} failed: {because}\nThe files from before are in their place again, but they could not be proved: "
                f"{_because(again)} The next run goes on from here.",
                failed_step,
                False,
            ) from problem
        words = (
            f"The files from before are in force again and answer ({generation_of(old)})."
            if old != EMPTY
            else f"All that was new is gone again; this was the first install.{self._again(plan)}"
        )
        raise ServiceError(f"{name}: {step} failed: {because}\n{words}", failed_step, True) from problem

    def _next_step(self) -> str:
        """The step that was under way."""
        return STEPS[STEPS.index(self.step) + 1] if self.step in STEPS[:-1] else "place"

    def _put_back_files(self, plan: Plan, new: str) -> str:
        """Nothing was swapped yet: take the new paths away again. Words when even that fails."""
        try:
            self.folder.close_staging()
            keep = plan.current or EMPTY
            self._give_back_to(keep)
            for name in self.folder.leftovers(keep):
                if name != plan.proved:
                    self.folder.remove_leftover(name)
            if not plan.current and self.folder.exists():
                self.folder.remove()
        except _EXPECTED as again:
            return f"What the run had begun could not be taken back: {again}"
        return ""

    def _give_back_to(self, keep: str) -> None:
        manifest = self.folder.manifest(keep)
        self._restore_units(keep, manifest)
        self._give_back(manifest.files)
        for place in self.folder.strays(keep):
            self.folder.drop_stub(keep, place)

    def _restore_units(self, keep: str, manifest: Manifest) -> None:
        for place in manifest.places(UNITS):
            unit = place[len(UNITS) + 1 :]
            self.folder.copy_unit(unit, self.folder.at(keep, place))

    def _back_to(self, plan: Plan, old: str) -> None:
        folder, before = self.folder, plan.before()
        if folder.current() != old:
            folder.swap(old)
        states = self.systemd.states(before)
        stop = [unit for unit, was in before.items() if not was["active"] and states[unit].up]
        if stop:
            self._act("stop", *reversed(stop))
        # Before their files go: systemctl can't disable what it no longer finds.
        self.systemd.disable([unit for unit, was in before.items() if not was["enabled"] and states[unit].enabled])
        self._give_back_to(old)
        self.systemd.daemon_reload()
        states = self.systemd.states(before)
        self.systemd.enable(
            [
                unit
                for unit, was in before.items()
                if was["enabled"] and states[unit].can_be_enabled and not states[unit].enabled
            ]
        )
        self.systemd.reset_failed([unit for unit in before if states[unit].exists])
        running = [unit for unit, was in before.items() if was["active"] and states[unit].exists]
        self._bring_up(running, states, plan.effects())
        manifest = folder.manifest(old)
        self._prove(manifest.proof, generation_of(old), self.wanted.generation, running)
        folder.clear_mark()
        for name in folder.leftovers(old):
            folder.remove_leftover(name)
        if old == EMPTY:
            folder.remove()

    def _restart_conflicts(self, plan: Plan) -> None:
        """Who was stopped for us and had been running runs again."""
        before = plan.before()
        again = [unit for unit in self.conflicts if before[unit]["active"]]
        with contextlib.suppress(SystemdError):
            if again:
                self._act(
                    "stop", *reversed([unit for unit in self.wanted.wanted("started") if not before[unit]["active"]])
                )
            for unit in again:
                self._act("start", unit)

    def _again(self, plan: Plan) -> str:
        """Who was stopped for us and runs again, in words."""
        before = plan.before()
        again = [unit for unit in self.conflicts if before[unit]["active"]]
        return f" {', '.join(again)} {'runs' if len(again) == 1 else 'run'} again as before." if again else ""

    def _advice(self, problem: Exception) -> str:
        """What should have answered, and where to look when it did not."""
        units = self.wanted.wanted("started")
        if not isinstance(problem, _proof.ProofError) or not self.wanted.proof or not units:
            return ""
        return (
            f" The set {self.wanted.generation} should have answered. `systemctl cat {' '.join(units)}` shows whether something "
            "that is not ours starts or reloads it in another way: mend that and run again."
        )

    def _journal(self, problem: Exception) -> str:
        if not isinstance(problem, (_proof.ProofError, SystemdError)):
            return ""
        lines = self.systemd.journal(self.wanted.wanted("started"), self.begun)
        return f"\nThe journal says:\n{lines}" if lines else ""


_STEP_WORDS = {
    "swap": "putting the files into force",
    "daemon_reload": "reading the units again",
    "apply": "taking up the new files",
    "prove": "the proof that the new files are in force",
    "enable": "enabling",
    "clear": "ending the run",
}


def _because(problem: Exception) -> str:
    if isinstance(problem, OSError) and problem.strerror:
        return f"{problem.strerror}{f' ({problem.filename})' if problem.filename else ''}."
    return str(problem)


def _program(check: Mapping[str, Any]) -> _isolated.Program:
    return _isolated.Program(
        check["argv"], check.get("user") or "root", check.get("groups") or (), check.get("environment") or {}
    )
