package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate"
)

// Policy says which addresses and ports may be connected to. Its zero value
// permits the public internet only.
type Policy struct {
	// AllowPrivate permits loopback, RFC 1918, RFC 6598 and unique local
	// addresses. Link-local ones, where clouds serve credentials, stay refused.
	AllowPrivate bool
	// AllowPrefixes permits what lies inside, whatever else is said.
	AllowPrefixes []netip.Prefix
	// Ports are the permitted ports; empty permits 80, 443 and those from 1024 up.
	Ports []uint16
}

// special is a range that is not the public internet.
type special struct {
	prefix  netip.Prefix
	what    string
	private bool // AllowPrivate permits it
}

// specials follows the IANA special-purpose registries,
// iana-ipv4-special-registry and iana-ipv6-special-registry (as of 2025-10),
// and adds the ranges that translate or tunnel to IPv4. The first match counts.
var specials = []special{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network, RFC 791", false},
	{netip.MustParsePrefix("10.0.0.0/8"), "private, RFC 1918", true},
	{netip.MustParsePrefix("100.64.0.0/10"), "shared, RFC 6598", true},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback", true},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, RFC 3927", false},
	{netip.MustParsePrefix("172.16.0.0/12"), "private, RFC 1918", true},
	{netip.MustParsePrefix("192.0.0.0/24"), "protocol assignments, RFC 6890", false},
	{netip.MustParsePrefix("192.0.2.0/24"), "documentation, RFC 5737", false},
	{netip.MustParsePrefix("192.31.196.0/24"), "AS112, RFC 7535", false},
	{netip.MustParsePrefix("192.52.193.0/24"), "AMT, RFC 7450", false},
	{netip.MustParsePrefix("192.88.99.0/24"), "6to4 relay, RFC 7526", false},
	{netip.MustParsePrefix("192.168.0.0/16"), "private, RFC 1918", true},
	{netip.MustParsePrefix("192.175.48.0/24"), "AS112, RFC 7534", false},
	{netip.MustParsePrefix("198.18.0.0/15"), "benchmarking, RFC 2544", false},
	{netip.MustParsePrefix("198.51.100.0/24"), "documentation, RFC 5737", false},
	{netip.MustParsePrefix("203.0.113.0/24"), "documentation, RFC 5737", false},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast, RFC 1112", false},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, RFC 1112", false},

	{netip.MustParsePrefix("::1/128"), "loopback", true},
	{netip.MustParsePrefix("fc00::/7"), "unique local, RFC 4193", true},
	{netip.MustParsePrefix("2001::/23"), "protocol assignments with Teredo, RFC 2928", false},
	{netip.MustParsePrefix("2001:db8::/32"), "documentation, RFC 3849", false},
	{netip.MustParsePrefix("2002::/16"), "6to4, RFC 3056", false},
	{netip.MustParsePrefix("2620:4f:8000::/48"), "AS112, RFC 7534", false},
	{netip.MustParsePrefix("3fff::/20"), "documentation, RFC 9637", false},
}

// globalUnicast is all of IPv6 that IANA has given out for the internet; what
// lies outside (NAT64, link-local, multicast, the unspecified address) is refused.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// Check returns nil when a connection to a may be opened, otherwise a
// *tidegate.Fault (Halt, "egress.address_refused" or "egress.port_refused").
// It does no I/O. An IPv4 address written as IPv6 is judged as the IPv4 address
// that the kernel would connect to; an address with a zone is refused.
func (p Policy) Check(a netip.AddrPort) error {
	if err := p.checkAddr(a.Addr()); err != nil {
		return err
	}
	port := a.Port()
	if len(p.Ports) > 0 && !slices.Contains(p.Ports, port) || len(p.Ports) == 0 && port != 80 && port != 443 && port < 1024 {
		hint := "use 80, 443 or a port from 1024 up"
		if len(p.Ports) > 0 {
			hint = "use one of the ports " + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(p.Ports)), ", "), "[]")
		}
		return &tidegate.Fault{Action: tidegate.Halt, Code: "egress.port_refused", Message: fmt.Sprintf("connections to port %d are not allowed", port), Hint: hint}
	}
	return nil
}

func (p Policy) checkAddr(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" {
		return refused(a, "not an address of the internet")
	}
	a = a.Unmap()
	for _, prefix := range p.AllowPrefixes {
		if prefix.Contains(a) {
			return nil
		}
	}
	for _, s := range specials {
		if s.prefix.Contains(a) {
			if s.private && p.AllowPrivate {
				return nil
			}
			return refused(a, s.what)
		}
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return refused(a, "outside of the IPv6 internet")
	}
	return nil
}

func refused(a netip.Addr, what string) error {
	return &tidegate.Fault{
		Action: tidegate.Halt, Code: "egress.address_refused",
		Message: fmt.Sprintf("connections to %s (%s) are not allowed", a, what),
		Hint:    "use a public address, or let the operator allow this one",
	}
}
