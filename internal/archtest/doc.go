// Package archtest holds the rules of the house that no linter knows: who may
// import whom, how big a file or function may be, and that the documentation
// lists what the code has. It has nothing but tests.
package archtest
