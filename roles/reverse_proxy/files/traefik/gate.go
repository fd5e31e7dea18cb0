// Package gate judges requests that Traefik's own rules cannot: any target but the plainest, anything with a body, anything that comes
// through a trusted proxy. It is interpreted by Traefik, which costs; so plain requests pass beside it (dynamic.yml.j2).
package gate

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config is what the middleware's options are read into.
type Config struct {
	Target   string   `json:"target,omitempty"`
	Trusted  []string `json:"trusted,omitempty"`
	Lan      []string `json:"lan,omitempty"`
	Requests int      `json:"requests,omitempty"`
	Body     int      `json:"body,omitempty"`
}

// CreateConfig is called by Traefik.
func CreateConfig() *Config {
	return &Config{}
}

type gate struct {
	next     http.Handler
	target   *regexp.Regexp
	trusted  []*net.IPNet
	lan      []*net.IPNet
	requests int
	pause    time.Duration
}

// New is called by Traefik.
func New(_ context.Context, next http.Handler, config *Config, _ string) (http.Handler, error) {
	target, err := regexp.Compile(config.Target)
	if err != nil {
		return nil, err
	}
	made := &gate{next: next, target: target, requests: config.Requests, pause: time.Duration(config.Body) * time.Second}
	if made.trusted, err = networks(config.Trusted); err != nil {
		return nil, err
	}
	made.lan, err = networks(config.Lan)
	return made, err
}

func networks(texts []string) ([]*net.IPNet, error) {
	found := []*net.IPNet{}
	for _, text := range texts {
		if !strings.Contains(text, "/") {
			if strings.Contains(text, ":") {
				text += "/128"
			} else {
				text += "/32"
			}
		}
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		found = append(found, network)
	}
	return found, nil
}

func among(networks []*net.IPNet, address net.IP) bool {
	for _, network := range networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

func (g *gate) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	writer := beneath(rw)
	target := sent(writer, req.RequestURI)
	if !g.accepts(req, target) {
		refuse(rw, http.StatusBadRequest)
		return
	}
	req.RequestURI = target
	if path, query, found := strings.Cut(target, "?"); found {
		// Traefik would make a semicolon an ampersand.
		req.RequestURI = path + "?" + strings.ReplaceAll(query, ";", "%3B")
	}
	host, port, err := net.SplitHostPort(req.RemoteAddr)
	peer := net.ParseIP(strings.SplitN(host, "%", 2)[0])
	if err != nil || peer == nil {
		refuse(rw, http.StatusBadRequest)
		return
	}
	client := peer
	if len(g.trusted) > 0 {
		client = g.find(peer, req.Header.Values("X-Forwarded-For"))
		req.Header.Del("X-Forwarded-For")
		// What Traefik says of the client, and what its rules behind this judge.
		req.RemoteAddr = net.JoinHostPort(client.String(), port)
	}
	req.Header.Set("X-Jellynet-Peer", peer.String())
	req.Trailer = nil
	if req.ContentLength != 0 {
		req.Body = &paced{ReadCloser: req.Body, deadline: deadlines(writer), pause: g.pause}
	}
	if g.requests > 0 && !among(g.lan, client) {
		key := counted(client)
		if !enter(key, g.requests) {
			rw.Header().Set("Retry-After", "5")
			refuse(rw, http.StatusTooManyRequests)
			return
		}
		defer leave(key)
	}
	g.next.ServeHTTP(rw, req)
}

// accepts says whether the target has the accepted form. Where the path held what has to be encoded, `RequestURI` has that encoded by now, and
// `RawPath` has not.
func (g *gate) accepts(req *http.Request, target string) bool {
	// Over HTTP/3 scheme and host are always there: they come from fields of their own.
	plain := req.ProtoMajor == 3 || req.URL.Scheme == "" && req.URL.Host == ""
	return plain && strings.HasPrefix(req.RequestURI, req.URL.RawPath) && g.target.MatchString(target)
}

func refuse(rw http.ResponseWriter, status int) {
	rw.Header().Set("Content-Type", "text/plain")
	rw.WriteHeader(status)
	io.WriteString(rw, http.StatusText(status))
}

// find walks the list from right to left past the trusted proxies; text that is no address ends the walk.
func (g *gate) find(peer net.IP, lists []string) net.IP {
	found := peer
	hops := strings.Split(strings.Join(lists, ","), ",")
	for index := len(hops) - 1; index >= 0 && among(g.trusted, found); index-- {
		next := net.ParseIP(strings.TrimSpace(hops[index]))
		if next == nil {
			break
		}
		found = next
	}
	return found
}

// Requests under way, by address; what one interpreter runs has one such table.
var (
	table    sync.Mutex
	underWay = map[string]int{}
	told     = map[string]time.Time{}
)

// counted is the address as a limit counts it: IPv6 by /64.
func counted(client net.IP) string {
	if client.To4() != nil {
		return client.String()
	}
	return client.Mask(net.CIDRMask(64, 128)).String()
}

func enter(key string, limit int) bool {
	table.Lock()
	defer table.Unlock()
	if underWay[key] < limit {
		underWay[key]++
		return true
	}
	// Once a minute for an address, and never for more addresses than these.
	if now := time.Now(); len(told) < 1000 && now.Sub(told[key]) > time.Minute {
		told[key] = now
		log.Println("over the limit of " + strconv.Itoa(limit) + " requests: " + key)
	}
	return false
}

func leave(key string) {
	table.Lock()
	defer table.Unlock()
	underWay[key]--
	if underWay[key] <= 0 {
		delete(underWay, key)
		delete(told, key)
	}
}

// beneath finds the writer of Go's own server below those that Traefik has wrapped around it without a way back.
func beneath(rw http.ResponseWriter) reflect.Value {
	value := reflect.ValueOf(rw)
	for depth := 0; depth < 8; depth++ {
		field := hidden(value, "rw")
		if !field.IsValid() {
			break
		}
		value = field.Elem()
	}
	return value
}

// hidden is a field of what a pointer leads to, whether or not another package may read it.
func hidden(value reflect.Value, name string) reflect.Value {
	if value.Kind() != reflect.Pointer || value.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	field := value.Elem().FieldByName(name)
	if !field.IsValid() {
		return field
	}
	return reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem()
}

// sent is the target as the client sent it, if it can be found: Traefik has written it anew by now.
func sent(writer reflect.Value, known string) string {
	if state := hidden(writer, "rws"); state.IsValid() { // HTTP/2
		writer = state
	}
	if field := hidden(writer, "req"); field.IsValid() {
		if first, is := field.Interface().(*http.Request); is && first != nil {
			return first.RequestURI
		}
	}
	return known
}

// deadlines is what sets the time limit of a request, or nil.
func deadlines(writer reflect.Value) func(time.Time) error {
	if method := writer.MethodByName("SetReadDeadline"); method.IsValid() {
		if set, is := method.Interface().(func(time.Time) error); is {
			return set
		}
	}
	return nil
}

// paced is a body that may take as long as it likes, but not pause for longer than it may.
type paced struct {
	io.ReadCloser
	deadline func(time.Time) error
	pause    time.Duration
	lock     sync.Mutex
	closed   bool
}

func (p *paced) limit(until time.Time) bool {
	p.lock.Lock()
	defer p.lock.Unlock()
	if !p.closed && p.deadline != nil {
		p.deadline(until)
	}
	return !p.closed
}

// Read is what takes the body from the client.
func (p *paced) Read(buffer []byte) (int, error) {
	if !p.limit(time.Now().Add(p.pause)) {
		return 0, http.ErrBodyReadAfterClose
	}
	read, err := p.ReadCloser.Read(buffer)
	// While the server is slow nobody waits for the client.
	p.limit(time.Time{})
	return read, err
}

// Close is called before the answer is done: from then on the connection's time limits are those of its next request.
func (p *paced) Close() error {
	p.lock.Lock()
	p.closed = true
	p.lock.Unlock()
	return p.ReadCloser.Close()
}
