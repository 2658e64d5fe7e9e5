// Package version says which version of ournet this is; nothing else does.
package version

// Current is the version of plugin and command alike (semver.org).
const Current = "0.1.0-dev"
