// Coredns is CoreDNS with the plugins that it is measured with, beside ournet's
// responder: the server is the same as the released one, which has all plugins, and
// takes a tenth of the time to build.
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/hosts"
)

func main() { coremain.Run() }
