/**
 * Cases of h2spec that fail, by `codec_type`, with the reason. The list may only shrink: a case that does not fail any more must
 * leave it. (Envoy 1.40 fails 12.)
 */
export const knownFailures: Readonly<Record<'AUTO' | 'HTTP2' | 'AUTO over TLS', Readonly<Record<string, string>>>> = {
  AUTO: {
    'http2/3.5: Sends invalid connection preface':
      'what is no HTTP/2 preface is taken for HTTP/1, as AUTO means, and answered by a 400 in HTTP/1',
  },
  HTTP2: {},
  'AUTO over TLS': {},
};
