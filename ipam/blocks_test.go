package ipam_test

import (
	"strings"
	"testing"

	"github.com/ournet/ournet/ipam"
)

func TestParseBlocks(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"", "base=10.128.0.0/10,size=24"},
		{"  ", "base=10.128.0.0/10,size=24"},
		{"base=10.0.0.0/8,size=16", "base=10.0.0.0/8,size=16"},
		{"size=16,base=10.0.0.0/8;", "base=10.0.0.0/8,size=16"},
		{" base=10.0.0.0/8 , size=16 ; base=fd00:1::/48,size=64 ", "base=10.0.0.0/8,size=16;base=fd00:1::/48,size=64"},
		{"base=192.168.0.0/24,size=24", "base=192.168.0.0/24,size=24"},
		{"base=192.168.0.0/24,size=30", "base=192.168.0.0/24,size=30"},
	} {
		blocks, err := ipam.ParseBlocks(tc.in)
		if err != nil {
			t.Errorf("ParseBlocks(%q): %v", tc.in, err)
		}
		if got := format(blocks); got != tc.want {
			t.Errorf("ParseBlocks(%q) = %s, want %s", tc.in, got, tc.want)
		}
	}
}

func format(blocks []ipam.Block) string {
	texts := make([]string, 0, len(blocks))
	for _, b := range blocks {
		texts = append(texts, b.String())
	}
	return strings.Join(texts, ";")
}

func TestParseBlocks_errorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"10.0.0.0/8", "unexpected"},
		{"base=10.0.0.0/8", "size 0"},
		{"size=24", "base"},
		{"base=10.0.0.0/8,size=24,size=25", "unexpected"},
		{"base=10.0.0.0/8,base=11.0.0.0/8,size=24", "unexpected"},
		{"base=10.0.0.0/8,size=24,scope=local", "scope=local"},
		{"base=10.0.0.1/8,size=24", "write 10.0.0.0/8"},
		{"base=10.0.0.0/33,size=24", "10.0.0.0/33"},
		{"base=10.0.0.0/8,size=7", "from 8 to 30"},
		{"base=10.0.0.0/8,size=31", "from 8 to 30"},
		{"base=10.0.0.0/8,size=x", "want base="},
		{"base=fd00::/48,size=127", "from 48 to 126"},
		{"base=10.0.0.0/8,size=24;base=10.1.0.0/16,size=24", "overlaps"},
		{"base=10.0.0.0/8,size=24;;base=11.0.0.0/16,size=24", "unexpected"},
		{"base=127.0.0.0/8,size=24", "127.0.0.0/8"},
		{"base=0.0.0.0/0,size=24", "0.0.0.0/0"},
		{"base=::ffff:10.0.0.0/104,size=120", "IPv4"},
		{";", "unexpected"},
	} {
		if blocks, err := ipam.ParseBlocks(tc.in); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("ParseBlocks(%q) = %v, %v, want an error with %q", tc.in, blocks, err, tc.want)
		}
	}
}

func FuzzParseBlocks(f *testing.F) {
	for _, s := range []string{"", "base=10.128.0.0/10,size=24", "base=10.0.0.0/8,size=16;base=fd00:1::/48,size=64", "size=,base=;", "base=::/0,size=-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		blocks, err := ipam.ParseBlocks(s)
		if err != nil {
			return
		}
		if len(blocks) == 0 {
			t.Fatalf("ParseBlocks(%q) has no block and no error", s)
		}
		again, err := ipam.ParseBlocks(format(blocks))
		if err != nil || format(again) != format(blocks) {
			t.Fatalf("ParseBlocks(%q) = %s, and that is %s, %v", s, format(blocks), format(again), err)
		}
	})
}

func TestParsePoolID(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"ournet-host/172.25.0.0/16", "x/fd00::/64", "a b/10.0.0.0/32"} {
		space, subnet, err := ipam.ParsePoolID(s)
		if err != nil || string(ipam.NewPoolID(space, subnet)) != s {
			t.Errorf("ParsePoolID(%q) = %q, %v, %v", s, space, subnet, err)
		}
	}
	for _, s := range []string{"", "/", "ournet-host", "ournet-host/", "/10.0.0.0/8", "x/10.0.0.1/8", "x/10.0.0.0/8/9", "x/10.0.0.0", "x/fd00:0::/64", "x/y/10.0.0.0/8", "x/::ffff:10.0.0.0/120x"} {
		if space, subnet, err := ipam.ParsePoolID(s); err == nil {
			t.Errorf("ParsePoolID(%q) = %q, %v", s, space, subnet)
		}
	}
}

func FuzzParsePoolID(f *testing.F) {
	for _, s := range []string{"ournet-host/172.25.0.0/16", "x/fd00::/64", "", "x/::ffff:1.2.3.4/128", "/10.0.0.0/8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		space, subnet, err := ipam.ParsePoolID(s)
		if err != nil {
			return
		}
		if got := ipam.NewPoolID(space, subnet); string(got) != s || subnet != subnet.Masked() {
			t.Fatalf("ParsePoolID(%q) = %q, %v, which is %q", s, space, subnet, got)
		}
		again, prefix, err := ipam.ParsePoolID(string(ipam.NewPoolID(space, subnet)))
		if err != nil || again != space || prefix != subnet {
			t.Fatalf("second ParsePoolID(%q) = %q, %v, %v", s, again, prefix, err)
		}
	})
}
