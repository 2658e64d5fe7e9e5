package consul_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ournet/ournet/internal/store/consul"
)

func noEnv(string) string { return "" }

func TestParse_takesAddressAndOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, address, opts string
		env                 map[string]string
		want                func(cfg *consul.Config)
	}{
		{"one host", "consul://10.0.0.1:8500", "", nil, func(cfg *consul.Config) {
			cfg.Addresses = []string{"10.0.0.1:8500"}
		}},
		{"several and a prefix", "consul://a:1,b, [fd00::1]:8501,[fd00::2]/team/nets/", "", nil, func(cfg *consul.Config) {
			cfg.Addresses = []string{"a:1", "b:8500", "[fd00::1]:8501", "[fd00::2]:8500"}
			cfg.Prefix = "team/nets"
		}},
		{"certificates mean TLS", "consul://a", "kv.cacertfile=/ca,kv.certfile=/c,kv.keyfile=/k,kv.tokenfile=/t", nil, func(cfg *consul.Config) {
			cfg.Addresses = []string{"a:8500"}
			cfg.HTTPS, cfg.CAFile, cfg.CertFile, cfg.KeyFile, cfg.TokenFile = true, "/ca", "/c", "/k", "/t"
		}},
		{"consul's own variables", "consul://a", "", map[string]string{
			"CONSUL_HTTP_TOKEN": "t", "CONSUL_HTTP_TOKEN_FILE": "/t", "CONSUL_HTTP_SSL": "true", "CONSUL_HTTP_SSL_VERIFY": "false",
			"CONSUL_CACERT": "/ca", "CONSUL_CAPATH": "/cas", "CONSUL_CLIENT_CERT": "/c", "CONSUL_CLIENT_KEY": "/k",
			"CONSUL_TLS_SERVER_NAME": "s", "CONSUL_HTTP_AUTH": "u:p:q",
		}, func(cfg *consul.Config) {
			cfg.Addresses = []string{"a:8500"}
			cfg.Token, cfg.TokenFile, cfg.HTTPS, cfg.SkipVerify = "t", "/t", true, true
			cfg.CAFile, cfg.CAPath, cfg.CertFile, cfg.KeyFile, cfg.ServerName = "/ca", "/cas", "/c", "/k", "s"
			cfg.User, cfg.Password = "u", "p:q"
		}},
		{"options win", "consul://a", "kv.tokenfile=/mine", map[string]string{"CONSUL_HTTP_TOKEN_FILE": "/t"}, func(cfg *consul.Config) {
			cfg.Addresses = []string{"a:8500"}
			cfg.TokenFile = "/mine"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := consul.Parse(tc.address, tc.opts, func(key string) string { return tc.env[key] })
			if err != nil {
				t.Fatal(err)
			}
			want := consul.Defaults()
			tc.want(&want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParse_tellsOfEveryProblem(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, address, opts string
		want                []string
	}{
		{"nothing", "", "", []string{`""`, "consul://host:8500"}},
		{"another store", "etcd://a:2379", "", []string{`"etcd://a:2379"`}},
		{"no host", "consul:///p", "", []string{"no host"}},
		{"host missing in the middle", "consul://a,,b", "", []string{"no host"}},
		{"bare IPv6", "consul://fd00::1", "", []string{"brackets"}},
		{"bad ports", "consul://a:0,b:x,c:70000", "", []string{`port "0"`, `port "x"`, `port "70000"`}},
		{"bad prefix", "consul://a/x//y", "", []string{`"x//y"`}},
		{"upward prefix", "consul://a/../x", "", []string{`"../x"`}},
		{"options", "consul://a", "kv.path=/x,kv.certfile,", []string{"kv.path", "kv.certfile", "kv.tokenfile"}},
		{"half a certificate", "consul://a", "kv.certfile=/c", []string{"kv.keyfile"}},
		{"several at once", "consul://a:0", "nonsense=1", []string{`port "0"`, "nonsense"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := consul.Parse(tc.address, tc.opts, noEnv)
			if err == nil {
				t.Fatal("it was taken")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not tell of %s", err, want)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("consul://a:8500,[fd00::1]:8501/ournet", "kv.cacertfile=/ca,kv.tokenfile=/t")
	f.Add("consul://", ",=,kv.keyfile==")
	f.Fuzz(func(t *testing.T, address, opts string) {
		cfg, err := consul.Parse(address, opts, noEnv)
		if err != nil {
			return
		}
		if len(cfg.Addresses) == 0 || cfg.Prefix == "" || strings.HasPrefix(cfg.Prefix, "/") || strings.HasSuffix(cfg.Prefix, "/") {
			t.Errorf("Parse(%q, %q) = %+v", address, opts, cfg)
		}
	})
}
