/** Envoy's words (CodeUtility::toString); everything else is `Unknown`. */
const PHRASES: readonly (readonly [number, string])[] = [
  [100, 'Continue'],
  [101, 'Switching Protocols'],
  [200, 'OK'],
  [201, 'Created'],
  [202, 'Accepted'],
  [203, 'Non-Authoritative Information'],
  [204, 'No Content'],
  [205, 'Reset Content'],
  [206, 'Partial Content'],
  [207, 'Multi-Status'],
  [208, 'Already Reported'],
  [226, 'IM Used'],
  [300, 'Multiple Choices'],
  [301, 'Moved Permanently'],
  [302, 'Found'],
  [303, 'See Other'],
  [304, 'Not Modified'],
  [305, 'Use Proxy'],
  [307, 'Temporary Redirect'],
  [308, 'Permanent Redirect'],
  [400, 'Bad Request'],
  [401, 'Unauthorized'],
  [402, 'Payment Required'],
  [403, 'Forbidden'],
  [404, 'Not Found'],
  [405, 'Method Not Allowed'],
  [406, 'Not Acceptable'],
  [407, 'Proxy Authentication Required'],
  [408, 'Request Timeout'],
  [409, 'Conflict'],
  [410, 'Gone'],
  [411, 'Length Required'],
  [412, 'Precondition Failed'],
  [413, 'Payload Too Large'],
  [414, 'URI Too Long'],
  [415, 'Unsupported Media Type'],
  [416, 'Range Not Satisfiable'],
  [417, 'Expectation Failed'],
  [421, 'Misdirected Request'],
  [422, 'Unprocessable Entity'],
  [423, 'Locked'],
  [424, 'Failed Dependency'],
  [425, 'Too Early'],
  [426, 'Upgrade Required'],
  [428, 'Precondition Required'],
  [429, 'Too Many Requests'],
  [431, 'Request Header Fields Too Large'],
  [500, 'Internal Server Error'],
  [501, 'Not Implemented'],
  [502, 'Bad Gateway'],
  [503, 'Service Unavailable'],
  [504, 'Gateway Timeout'],
  [505, 'HTTP Version Not Supported'],
  [506, 'Variant Also Negotiates'],
  [507, 'Insufficient Storage'],
  [508, 'Loop Detected'],
  [510, 'Not Extended'],
  [511, 'Network Authentication Required'],
  [599, 'Last Unassigned Server Error Code'],
];

const BY_STATUS: string[] = new Array(1000).fill('Unknown');
for (const [status, phrase] of PHRASES) BY_STATUS[status] = phrase;
const LINES_11 = BY_STATUS.map((phrase, status) => `HTTP/1.1 ${status} ${phrase}\r\n`);
const LINES_10 = BY_STATUS.map((phrase, status) => `HTTP/1.0 ${status} ${phrase}\r\n`);

/** Envoy's reason phrase for `status`, as in status lines and local reply bodies of the codec's errors. */
export function reasonPhrase(status: number): string {
  return BY_STATUS[status] ?? 'Unknown';
}

/** The whole status line with its line end. */
export function statusLine(status: number, http10: boolean): string {
  const line = (http10 ? LINES_10 : LINES_11)[status];
  return line ?? `HTTP/1.${http10 ? 0 : 1} ${status} Unknown\r\n`;
}
