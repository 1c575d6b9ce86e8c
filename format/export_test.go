package format

// SipHash is sipHash, for the published vectors of SipHash-2-4.
var SipHash = sipHash
