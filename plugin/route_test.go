package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logrustest "github.com/sirupsen/logrus/hooks/test"

	"github.com/ournet/ournet/internal/admin"
)

// needBody are the verbs that act on what their body says.
func needBody() []string {
	return []string{
		"/NetworkDriver.CreateNetwork", "/NetworkDriver.DeleteNetwork",
		"/NetworkDriver.CreateEndpoint", "/NetworkDriver.DeleteEndpoint",
		"/NetworkDriver.Join", "/NetworkDriver.Leave",
		"/NetworkDriver.ProgramExternalConnectivity", "/NetworkDriver.RevokeExternalConnectivity",
		"/IpamDriver.RequestPool", "/IpamDriver.ReleasePool",
		"/IpamDriver.RequestAddress", "/IpamDriver.ReleaseAddress",
	}
}

// errText returns the text of an error reply, "" if it is none.
func errText(t *testing.T, a answer) string {
	t.Helper()
	var reply struct{ Err string }
	if err := json.Unmarshal([]byte(a.Body), &reply); err != nil {
		t.Fatalf("reply %q is no JSON object: %v", a.Body, err)
	}
	return reply.Err
}

// The engine's second try of a request has lost its body.
func TestRoute_emptyBodyIsRefusedAndNothingDone(t *testing.T) {
	t.Parallel()
	s := populated(t)
	before := s.state(t)
	for _, path := range needBody() {
		for _, body := range []string{"", " \n"} {
			a := s.ask(t, path, body)
			if a.Status != http.StatusBadRequest || !strings.Contains(errText(t, a), "no body") {
				t.Errorf("%s with body %q = %v, want an error about the body", path, body, a)
			}
		}
	}
	if after := s.state(t); after != before {
		t.Errorf("state changed from\n%s\nto\n%s", before, after)
	}
}

func TestRoute_verbsWithoutABodyAnswerAnyway(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for path, want := range map[string]string{
		"/Plugin.Activate":                    `{"Implements":["NetworkDriver","IpamDriver"]}`,
		"/NetworkDriver.GetCapabilities":      `{"Scope":"local","ConnectivityScope":"","GwAllocChecker":false}`,
		"/NetworkDriver.GwAllocCheck":         `{"SkipIPv4":false,"SkipIPv6":false}`,
		"/NetworkDriver.EndpointOperInfo":     `{"Value":{}}`,
		"/NetworkDriver.DiscoverNew":          `{}`,
		"/NetworkDriver.DiscoverDelete":       `{}`,
		"/IpamDriver.GetCapabilities":         `{"RequiresMACAddress":false,"RequiresRequestReplay":false}`,
		"/IpamDriver.GetDefaultAddressSpaces": `{"LocalDefaultAddressSpace":"ournet-host","GlobalDefaultAddressSpace":"ournet-host"}`,
	} {
		for _, body := range []string{"", "{}", "null", "junk"} {
			if got := s.must(t, path, body); got != want {
				t.Errorf("%s %q = %s, want %s", path, body, got, want)
			}
		}
	}
}

func TestRoute_malformedBodyIsRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, tc := range []struct{ name, path, body, want string }{
		{"no JSON", "/NetworkDriver.DeleteNetwork", "hello", "invalid character"},
		{"cut off", "/NetworkDriver.DeleteNetwork", `{"NetworkID":`, "unexpected end"},
		{"data after the value", "/NetworkDriver.DeleteNetwork", `{"NetworkID":""} {}`, "after top-level value"},
		{"wrong type", "/NetworkDriver.DeleteNetwork", `{"NetworkID":7}`, "field NetworkID cannot be a JSON number"},
		{"wrong nested type", "/NetworkDriver.CreateNetwork", `{"IPv4Data":[{"Pool":true}]}`, "IPv4Data.Pool cannot be a JSON bool"},
		{"not an object", "/IpamDriver.RequestPool", `[]`, "field (the whole value) cannot be a JSON array"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			a := s.ask(t, tc.path, tc.body)
			if a.Status != http.StatusBadRequest || !strings.Contains(errText(t, a), tc.want) {
				t.Errorf("%s %s = %v, want an error with %q", tc.path, tc.body, a, tc.want)
			}
		})
	}
}

func TestRoute_unknownFieldsOfALaterEngineAreFine(t *testing.T) {
	t.Parallel()
	newStack(t).must(t, "/NetworkDriver.DeleteNetwork", `{"NetworkID":"`+otherID+`","Shiny":{"New":1}}`)
}

func TestRoute_bodyOverTheCapIsRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	ask := s.serve(t)
	body := `{"NetworkID":"` + strings.Repeat("a", maxBody) + `"}`
	if a := ask("/NetworkDriver.DeleteNetwork", []byte(body)); a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("body of %d bytes = %d, want %d", len(body), a.Status, http.StatusRequestEntityTooLarge)
	}
}

func TestServeHTTP_unknownPathIsNotFoundWithAReason(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, path := range []string{"/", "/NetworkDriver.Fly", "/NetworkDriver.Join/", "//NetworkDriver.Join"} {
		if a := s.ask(t, path, "{}"); a.Status != http.StatusNotFound || errText(t, a) == "" {
			t.Errorf("%s = %v, want 404 and a reason", path, a)
		}
	}
}

func TestServeHTTP_otherMethodsAreRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/NetworkDriver.GetCapabilities", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	w := &recorder{header: http.Header{}}
	s.ServeHTTP(w, r)
	if w.status != http.StatusMethodNotAllowed {
		t.Errorf("GET of a verb = %d, want %d", w.status, http.StatusMethodNotAllowed)
	}
}

func TestRun_panicBecomesAnErrorWithItsStackInTheLog(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	log, hook := logrustest.NewNullLogger()
	s.log = log
	s.verb("Test.Panic", func(context.Context, []byte) (any, error) { panic("boom") })
	for range 2 {
		a := s.ask(t, "/Test.Panic", "{}")
		if a.Status != http.StatusInternalServerError || !strings.Contains(errText(t, a), "boom") {
			t.Errorf("panicking verb = %v, want an error that says boom", a)
		}
	}
	last := hook.LastEntry()
	if last == nil || last.Level != logrus.ErrorLevel || !strings.Contains(last.Data["stack"].(string), "route_test.go") { //nolint:errcheck // a panic is a failure too
		t.Errorf("log = %v, want an error with the stack", last)
	}
}

func TestRun_verbThatIgnoresItsDeadlineIsAnsweredForInTime(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.deadline, s.grace = 10*time.Millisecond, 10*time.Millisecond
	release := make(chan struct{})
	s.verb("Test.Hang", func(context.Context, []byte) (any, error) {
		<-release
		return struct{}{}, nil
	})
	a := s.ask(t, "/Test.Hang", "{}")
	if a.Status != http.StatusInternalServerError || !strings.Contains(errText(t, a), "still at it") {
		t.Errorf("hanging verb = %v, want an error", a)
	}
	close(release)
	s.Wait()
}

func TestRun_verbMayUndoAfterItsDeadline(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.deadline, s.grace = 10*time.Millisecond, 10*time.Second
	undone := errors.New("undone")
	s.verb("Test.Late", func(ctx context.Context, _ []byte) (any, error) {
		<-ctx.Done()
		return nil, undone
	})
	if got := errText(t, s.ask(t, "/Test.Late", "{}")); got != undone.Error() {
		t.Errorf("late verb = %q, want its own error %q", got, undone)
	}
}

// An engine that is killed must not have its last verb half done.
func TestRun_engineThatGoesAwayDoesNotCancelTheVerb(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.verb("Test.Slow", func(vctx context.Context, _ []byte) (any, error) {
		cancel()
		return struct{}{}, vctx.Err()
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/Test.Slow", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	w := &recorder{header: http.Header{}}
	s.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		t.Errorf("verb of a gone engine = %d %s, want it finished", w.status, w.body.String())
	}
}

func TestReport_failureIsLoggedOnceWithShortIDs(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	log, hook := logrustest.NewNullLogger()
	s.log = log
	s.ask(t, "/NetworkDriver.Join", `{"NetworkID":"`+testNetwork+`","EndpointID":"`+testEndpoint+`","SandboxKey":"/x"}`)
	entries := hook.AllEntries()
	if len(entries) != 1 || entries[0].Level != logrus.WarnLevel {
		t.Fatalf("log = %v, want one warning", entries)
	}
	for field, want := range map[string]any{"verb": "NetworkDriver.Join", "network": testNetwork[:12], "endpoint": testEndpoint[:12]} {
		if got := entries[0].Data[field]; got != want {
			t.Errorf("log field %s = %v, want %v", field, got, want)
		}
	}
}

func TestStats_countEveryVerb(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for range 3 {
		s.must(t, "/NetworkDriver.GetCapabilities", "")
	}
	s.ask(t, "/NetworkDriver.Join", "")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, admin.StatsPath, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	w := &recorder{header: http.Header{}}
	s.ServeHTTP(w, r)
	var got map[string]VerbStats
	if err := json.Unmarshal(w.body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if c := got["NetworkDriver.GetCapabilities"]; c.Count != 3 || c.Errors != 0 {
		t.Errorf("GetCapabilities = %+v, want 3 calls", c)
	}
	if c := got["NetworkDriver.Join"]; c.Count != 1 || c.Errors != 1 {
		t.Errorf("Join = %+v, want 1 call and 1 error", c)
	}
	if a := s.ask(t, admin.StatsPath, "{}"); a.Status != http.StatusMethodNotAllowed {
		t.Errorf("POST of the stats = %v, want it refused", a)
	}
}

func TestDurations_percentilesAreWithinAnEighth(t *testing.T) {
	t.Parallel()
	d := newDurations()
	for us := 1; us <= 10000; us++ {
		d.record("v", time.Duration(us)*time.Microsecond, false)
	}
	got := d.snapshot()["v"]
	for _, tc := range []struct {
		name      string
		got, want int64
	}{{"p50", got.P50, 5000}, {"p99", got.P99, 9900}} {
		if tc.got < tc.want || tc.got > tc.want+tc.want/8 {
			t.Errorf("%s = %d, want %d or up to an eighth more", tc.name, tc.got, tc.want)
		}
	}
	if got.Max != 10000 || got.Count != 10000 {
		t.Errorf("max, count = %d, %d, want 10000 each", got.Max, got.Count)
	}
}

func TestBucketOf_bucketsFollowEachOtherWithoutAGap(t *testing.T) {
	t.Parallel()
	for us := range int64(1 << 16) {
		i := bucketOf(us)
		if us > bucketEnd(i) || (i > 0 && us <= bucketEnd(i-1)) {
			t.Fatalf("%d µs is in bucket %d, which ends at %d after %d", us, i, bucketEnd(i), bucketEnd(i-1))
		}
	}
	if i := bucketOf(1<<63 - 1); i >= len(histogram{}.buckets) {
		t.Errorf("the longest duration is in bucket %d of %d", i, len(histogram{}.buckets))
	}
}
