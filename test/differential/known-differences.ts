/**
 * Cases where Nuncio is known to differ from Envoy, by their full name ("suite: case"), each with its reason. The list
 * may only shrink: a case that stands here and does not differ any more fails, and so does a name that no case has.
 */
const CHECKED_EARLY = 'refused when it is loaded: Envoy says that it is fine, and ends when it starts';

const SAYS_WHY = 'SETTINGS and GOAWAY tell the client why; Envoy closes without a word';

const DEPTH_UPSTREAM =
  'Envoy reads max_verify_depth for certificates of clients alone; here it limits those of hosts too';

const ACK_AT_ONCE = 'clusters are acknowledged as they come; Envoy holds the ACK back until the new ones are warm';

const REFUSED_SECRET = '/config_dump shows the secret that is in force; Envoy shows the one that it refused';

const MALFORMED_NAMES = 'the runtime ends such a handshake of itself, even where strangers are let in';

export const knownDifferences: Readonly<Record<string, string>> = {
  'all types of go-control-plane over GRPC: a certificate that is none': REFUSED_SECRET,
  'all types of go-control-plane over DELTA_GRPC: a certificate that is none': REFUSED_SECRET,
  'a lying server: a cluster whose endpoints never come': ACK_AT_ONCE,
  'a lying delta server: a cluster whose endpoints never come': ACK_AT_ONCE,
  'a lying server: a type that was not asked for': 'Envoy answers by a request of no type, here nothing is said',
  'a lying delta server: an empty message in LDS':
    'what is refused is kept under the name that the server gave it; Envoy keeps it without one',
  'certificates of clients, made up: names that are no names': MALFORMED_NAMES,
  'certificates of clients, made up: names twice': MALFORMED_NAMES,
  'certificates of servers, made up: below': DEPTH_UPSTREAM,
  'TLS towards hosts: cluster shallow': DEPTH_UPSTREAM,
  'filters and the rest: dynamic resources by a cluster that is missing': CHECKED_EARLY,
  'filters and the rest: dynamic resources of version 2': CHECKED_EARLY,
  'HTTP/2 attacks: floods: CONTINUATION without end, 2 MB of it':
    'the connection ends at four times the limit of a header list; Envoy resets the stream and reads on for ever',
  'HTTP/2 attacks: framing: a stream id that goes back':
    'a connection error by RFC 9113 section 5.1.1; Envoy takes such HEADERS for late ones and ignores them',
  'HTTP/2 attacks: framing: a stream window beyond 2^31-1':
    'ends the stream alone, by RFC 9113 section 6.9.1; Envoy ends the connection',
  'http2 to http1: a preface that is wrong behind its first line': SAYS_WHY,
  'header mutation, further: an escape that Envoy lets end the request line':
    'Envoy decodes the query and then fails on its own path: escapes that may not stand bare are kept on purpose',
  'listeners: two of one name': 'two listeners of one name are refused on purpose: Envoy keeps one of them in silence',
  'request lines and header lines: an HTTP/2 preface, then rubbish': SAYS_WHY,
  'TLS certificates and versions: SNI required and not given':
    'Envoy reads require_sni nowhere; here it does what its documentation says',
};
