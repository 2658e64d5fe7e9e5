package journal

// SetAtOnce makes the journal say at most so many keys at once.
func (j *Journal) SetAtOnce(n int) { j.atOnce = n }

// SetMost makes the journal full with so many keys.
func (j *Journal) SetMost(n int) { j.most = n }
