package driver

import "strings"

// nearest returns the candidate with the least edit distance to key. The last
// part of a dotted key weighs like the whole, so that "mtu" finds the long key.
func nearest(key string, candidates []string) string {
	lower := strings.ToLower(key)
	best, bestDistance := "", -1
	for _, c := range candidates {
		last := c[strings.LastIndex(c, ".")+1:]
		d := min(distance(lower, c), distance(lower, last))
		if bestDistance < 0 || d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance between a and b, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
