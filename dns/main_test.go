package dns

import (
	"flag"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// packetCount is how many random packets the tests send: enough for every change;
// a million by `go test ./dns -run randomPackets -packets 1000000`.
var packetCount = flag.Int("packets", 50_000, "how many random packets to send")

// labTTL is that of the networks of tests where it does not matter.
const labTTL = 5 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
