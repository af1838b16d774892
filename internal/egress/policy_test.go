package egress_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"code.dny.dev/ssrf"
	"pgregory.net/rapid"

	"github.com/tidegate/tidegate"
	"github.com/tidegate/tidegate/internal/egress"
)

// vectors are judged as plain values; nothing is dialled.
var vectors = []struct {
	addr             string
	public, loosened bool // permitted by Policy{}, by Policy{AllowPrivate: true}
}{
	{"8.8.8.8", true, true},
	{"1.1.1.1", true, true},
	{"93.184.216.34", true, true},
	{"9.255.255.255", true, true},
	{"11.0.0.0", true, true},
	{"100.63.255.255", true, true},
	{"100.128.0.0", true, true},
	{"126.255.255.255", true, true},
	{"128.0.0.1", true, true},
	{"169.253.255.255", true, true},
	{"169.255.0.0", true, true},
	{"172.15.255.255", true, true},
	{"172.32.0.0", true, true},
	{"192.0.1.0", true, true},
	{"192.167.255.255", true, true},
	{"192.169.0.0", true, true},
	{"198.17.255.255", true, true},
	{"198.20.0.0", true, true},
	{"223.255.255.255", true, true},
	{"203.0.112.255", true, true},
	{"203.0.114.0", true, true},
	{"2606:4700:4700::1111", true, true},
	{"2a00:1450:4001::1", true, true},
	{"2001:200::1", true, true},
	{"2001:db7:ffff::1", true, true},
	{"2003::1", true, true},

	{"10.0.0.0", false, true},
	{"10.255.255.255", false, true},
	{"100.64.0.0", false, true},
	{"100.127.255.255", false, true},
	{"127.0.0.1", false, true},
	{"127.255.255.255", false, true},
	{"172.16.0.0", false, true},
	{"172.31.255.255", false, true},
	{"192.168.0.0", false, true},
	{"192.168.255.255", false, true},
	{"::1", false, true},
	{"fc00::1", false, true},
	{"fdff:ffff::1", false, true},
	{"::ffff:127.0.0.1", false, true},
	{"::ffff:10.1.2.3", false, true},

	{"0.0.0.0", false, false},
	{"0.1.2.3", false, false},
	{"169.254.0.1", false, false},
	{"169.254.169.254", false, false},
	{"192.0.0.1", false, false},
	{"192.0.0.170", false, false},
	{"192.0.2.1", false, false},
	{"192.31.196.1", false, false},
	{"192.52.193.1", false, false},
	{"192.88.99.1", false, false},
	{"192.175.48.1", false, false},
	{"198.18.0.0", false, false},
	{"198.19.255.255", false, false},
	{"198.51.100.1", false, false},
	{"203.0.113.255", false, false},
	{"224.0.0.1", false, false},
	{"239.255.255.255", false, false},
	{"240.0.0.1", false, false},
	{"255.255.255.255", false, false},
	{"::", false, false},
	{"::ffff:169.254.169.254", false, false},
	{"::ffff:0.0.0.0", false, false},
	{"::127.0.0.1", false, false},
	{"64:ff9b::7f00:1", false, false},
	{"64:ff9b::808:808", false, false},
	{"64:ff9b:1::1", false, false},
	{"100::1", false, false},
	{"2001::1", false, false},
	{"2001:0:4136:e378:8000:63bf:3fff:fdd2", false, false},
	{"2001:10::1", false, false},
	{"2001:20::1", false, false},
	{"2001:db8::1", false, false},
	{"2002:7f00:1::1", false, false},
	{"2002:808:808::1", false, false},
	{"2620:4f:8000::1", false, false},
	{"3fff::1", false, false},
	{"4000::1", false, false},
	{"5f00::1", false, false},
	{"fe80::1", false, false},
	{"febf::1", false, false},
	{"fec0::1", false, false},
	{"ff02::1", false, false},
	{"fd00:ec2::254", false, true},
}

func TestPolicyVectors(t *testing.T) {
	t.Parallel()
	if len(vectors) < 60 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		a := netip.AddrPortFrom(netip.MustParseAddr(v.addr), 443)
		check(t, v.addr, egress.Policy{}.Check(a), v.public)
		check(t, v.addr+" with AllowPrivate", egress.Policy{AllowPrivate: true}.Check(a), v.loosened)
	}
	check(t, "zone", egress.Policy{AllowPrivate: true}.Check(netip.MustParseAddrPort("[fe80::1%eth0]:443")), false)
	check(t, "public with a zone", egress.Policy{}.Check(netip.MustParseAddrPort("[2606:4700::1%eth0]:443")), false)
	check(t, "no address", egress.Policy{AllowPrivate: true}.Check(netip.AddrPort{}), false)
}

func TestPolicyPrefixesAndPorts(t *testing.T) {
	t.Parallel()
	p := egress.Policy{AllowPrefixes: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("169.254.7.7/32")}}
	check(t, "inside", p.Check(netip.MustParseAddrPort("10.1.2.3:443")), true)
	check(t, "inside, written as IPv6", p.Check(netip.MustParseAddrPort("[::ffff:10.1.2.3]:443")), true)
	check(t, "named link-local", p.Check(netip.MustParseAddrPort("169.254.7.7:80")), true)
	check(t, "outside", p.Check(netip.MustParseAddrPort("10.2.0.1:443")), false)
	for port, want := range map[uint16]bool{80: true, 443: true, 1024: true, 8443: true, 65535: true, 0: false, 22: false, 25: false, 1023: false} {
		check(t, "default ports", egress.Policy{}.Check(netip.AddrPortFrom(netip.MustParseAddr("8.8.8.8"), port)), want)
	}
	only := egress.Policy{Ports: []uint16{443, 25}}
	check(t, "named port", only.Check(netip.MustParseAddrPort("8.8.8.8:25")), true)
	check(t, "port not named", only.Check(netip.MustParseAddrPort("8.8.8.8:80")), false)
}

func check(t *testing.T, what string, err error, permitted bool) {
	t.Helper()
	if (err == nil) != permitted {
		t.Errorf("%s: permitted = %v, want %v (%v)", what, err == nil, permitted, err)
	}
	if err == nil {
		return
	}
	var f *tidegate.Fault
	if !errors.As(err, &f) || f.Action != tidegate.Halt || f.Hint == "" || f.Code == "" {
		t.Errorf("%s: not a Halt with a hint: %#v", what, err)
	}
}

// TestPolicyAgreesWithAnotherGuard holds Policy to an independent guard over
// random addresses: what that one refuses, the zero Policy refuses.
func TestPolicyAgreesWithAnotherGuard(t *testing.T) {
	t.Parallel()
	guard := ssrf.New(ssrf.WithAnyPort())
	rapid.Check(t, func(t *rapid.T) {
		var a netip.Addr
		if rapid.Bool().Draw(t, "v4") {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], rapid.Uint32().Draw(t, "addr"))
			a = netip.AddrFrom4(b)
		} else {
			var b [16]byte
			binary.BigEndian.PutUint64(b[:8], rapid.Uint64().Draw(t, "high"))
			binary.BigEndian.PutUint64(b[8:], rapid.Uint64().Draw(t, "low"))
			if rapid.Bool().Draw(t, "global") {
				b[0] = 0x20 | b[0]&0x1f
			}
			a = netip.AddrFrom16(b)
		}
		want := guard.SafeAddr(a.Unmap())
		got := egress.Policy{}.Check(netip.AddrPortFrom(a, 443))
		if (want == nil) != (got == nil) {
			t.Fatalf("%s: ours says %v, the other %v", a, got, want)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.addr)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		strict := egress.Policy{}.Check(netip.AddrPortFrom(a, 443)) == nil
		loose := egress.Policy{AllowPrivate: true}.Check(netip.AddrPortFrom(a, 443)) == nil
		if strict && (!loose || !a.IsGlobalUnicast() || a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast()) {
			t.Errorf("%s is permitted", a)
		}
	})
}
