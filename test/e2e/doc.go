// Package e2e tests the built plugin in its managed form, on every supported
// engine, the way a user meets it: with commands as they are typed.
//
// All tests share one lab with a host per engine; see [each]. After every test
// whatever it made is removed, and the host must look as it did before: links,
// addresses, routes, rules, files.
package e2e
