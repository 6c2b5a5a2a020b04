import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { http, httpProxy } from './configs.ts';
import { request, suite } from './harness.ts';

suite(
  'smoke',
  {
    config: httpProxy({ log: '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_HOST%' }),
    upstreams: { u1: httpUpstream((seen) => reply(200, `saw ${seen.path}`)) },
    stats: ['http.ingress.', 'cluster.u1.upstream_rq', 'listener.'],
    log: 'access.log',
  },
  [
    request('a GET', http('GET /x')),
    request('a POST in pieces', [http('POST /y', ['content-length: 3'], 'a'), 'b', 'c']),
    request('a HEAD', http('HEAD /z')),
    request('rubbish', 'rubbish\r\n\r\n', { close: true }),
  ],
);
