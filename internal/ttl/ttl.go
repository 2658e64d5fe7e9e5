// Package ttl reads how long an answer may be kept, as users write it.
//
// It knows the form of the setting and of the network option, not who answers what.
package ttl

import (
	"errors"
	"time"
)

// Default is how long answers may be kept where nothing else is said. The engine's
// own resolver says 600 s, and users have had stale addresses since.
const Default = 5 * time.Second

// Most is the longest time that can be asked for: nobody means more than a day by it.
const Most = 24 * time.Hour

// Parse reads a time of whole seconds, "5s" or "2m"; "0s" means that nothing is kept.
func Parse(value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < 0 || d > Most || d%time.Second != 0 {
		return 0, errors.New("want a time of whole seconds from 0s to 24h, like 5s or 2m")
	}
	return d, nil
}
