// Package client finds the client's address behind trusted proxies and says it, alone, in X-Forwarded-For.
//
// Traefik itself can only append to that list. It is interpreted by Traefik, and only where there are trusted proxies.
package client

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// Config is what the middleware's options are read into.
type Config struct {
	Trusted []string `json:"trusted,omitempty"`
}

// CreateConfig is called by Traefik.
func CreateConfig() *Config {
	return &Config{}
}

type client struct {
	next    http.Handler
	trusted []*net.IPNet
}

// New is called by Traefik.
func New(_ context.Context, next http.Handler, config *Config, _ string) (http.Handler, error) {
	made := &client{next: next}
	for _, text := range config.Trusted {
		if !strings.Contains(text, "/") {
			text += "/32"
			if strings.Contains(text, ":") {
				text = strings.TrimSuffix(text, "/32") + "/128"
			}
		}
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, err
		}
		made.trusted = append(made.trusted, network)
	}
	return made, nil
}

func (c *client) ServeHTTP(rw http.ResponseWriter, req *http.Request) {
	req.Header.Set("X-Forwarded-For", c.find(req))
	c.next.ServeHTTP(rw, req)
}

// find walks the list from right to left past the trusted proxies; text that is no address ends the walk.
func (c *client) find(req *http.Request) string {
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil {
		host = req.RemoteAddr
	}
	found := net.ParseIP(strings.SplitN(host, "%", 2)[0])
	hops := strings.Split(strings.Join(req.Header.Values("X-Forwarded-For"), ","), ",")
	for index := len(hops) - 1; index >= 0 && found != nil && c.trusts(found); index-- {
		next := net.ParseIP(strings.TrimSpace(hops[index]))
		if next == nil {
			break
		}
		found = next
	}
	if found == nil {
		return host
	}
	return found.String()
}

func (c *client) trusts(address net.IP) bool {
	for _, network := range c.trusted {
		if network.Contains(address) {
			return true
		}
	}
	return false
}
