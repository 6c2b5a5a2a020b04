/** `internal_redirect_policy`: which redirects are followed, what the second request says, what is counted and logged. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { cluster, type Fields, http, httpListener, httpProxy, to, trusting } from './configs.ts';
import { request, suite } from './harness.ts';

const LOG =
  '%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %ROUTE_NAME% ' +
  '%UPSTREAM_CLUSTER% %BYTES_RECEIVED% %BYTES_SENT% %REQ(X-ENVOY-ORIGINAL-URL)%';

/** `x-to` and `x-status` say where to and how; without them it answers. */
const upstream = httpUpstream((seen) => {
  const path = seen.path.split('?')[0] ?? '';
  if (path.startsWith('/end')) return reply(200, `end [${seen.body}]`);
  if (path.startsWith('/none')) return reply(302, 'no location');
  if (path.startsWith('/loop')) return reply(302, '', ['location: http://h/loop']);
  const status = Number(seen.header('x-status') ?? 302);
  const target = seen.header('x-to') ?? 'http://h/end';
  return reply(status, '', [`location: ${target}`, 'x-copied: from-response', 'x-twice: 1', 'x-twice: 2']);
});

/**
 * A redirect is followed while the first request still has its connection, so that both proxies open another one: which of the two serves
 * what comes next is a race. With one alone there is none.
 */
const alone = cluster('u1', ['{{upstream:u1}}'], { circuit_breakers: { thresholds: [{ max_connections: 1 }] } });

const policy = (fields: Fields = {}): Fields => ({ internal_redirect_policy: fields });
const predicate = (name: string, message: string, fields: Fields = {}): Fields => ({
  name,
  typed_config: { '@type': `type.googleapis.com/envoy.extensions.internal_redirect.${name}.v3.${message}`, ...fields },
});
const named = (name: string, route: Fields): Fields => ({ name, ...route });

suite(
  'internal redirects',
  {
    config: {
      static_resources: {
        listeners: [
          httpListener({
            hcm: trusting,
            log: LOG,
            virtualHosts: [
              {
                name: 'v',
                domains: ['h', 'h:*'],
                routes: [
                  named('end', to('u1', '/end')),
                  named('loop', to('u1', '/loop', policy({ max_internal_redirects: 3 }))),
                  named(
                    'once',
                    to(
                      'u1',
                      '/previous',
                      policy({
                        max_internal_redirects: 5,
                        predicates: [predicate('previous_routes', 'PreviousRoutesConfig')],
                      }),
                    ),
                  ),
                  named(
                    'listed',
                    to(
                      'u1',
                      '/listed',
                      policy({
                        predicates: [
                          predicate('allow_listed_routes', 'AllowListedRoutesConfig', { allowed_route_names: ['end'] }),
                        ],
                      }),
                    ),
                  ),
                  named('codes', to('u1', '/codes', policy({ redirect_response_codes: [301, 303, 307] }))),
                  named('cross', to('u1', '/cross', policy({ allow_cross_scheme_redirect: true }))),
                  named(
                    'safe',
                    to(
                      'u1',
                      '/safe',
                      policy({
                        allow_cross_scheme_redirect: true,
                        predicates: [predicate('safe_cross_scheme', 'SafeCrossSchemeConfig')],
                      }),
                    ),
                  ),
                  named(
                    'copy',
                    to('u1', '/copy', policy({ response_headers_to_copy: ['X-Copied', 'x-twice', 'x-absent'] })),
                  ),
                  named('rewrite', to('u1', '/rewrite', { prefix_rewrite: '/to', ...policy() })),
                  named('retry', to('u1', '/retry', { retry_policy: { retry_on: '5xx' }, ...policy() })),
                  named('small', { ...to('u1', '/small', policy()), request_body_buffer_limit: 4 }),
                  { name: 'direct', match: { prefix: '/direct' }, direct_response: { status: 418 } },
                  named('plain', to('u1', '/plain')),
                  named('any', to('u1', '/', policy())),
                ],
              },
            ],
          }),
        ],
        clusters: [alone],
      },
    },
    upstreams: { u1: upstream },
    log: 'access.log',
    stats: [
      /^cluster\.u1\.(upstream_internal_redirect|upstream_rq_(total|[2-5]|completed)|upstream_cx_(total|destroy))/,
      'http.ingress.rq_',
      'http.ingress.passthrough_',
      /^http\.ingress\.downstream_rq_(?!time)/,
    ],
  },
  [
    request('followed', http('GET /a?q')),
    request('the redirect that its route does not follow', http('GET /plain')),
    request('with a body', http('POST /a', ['content-length: 3'], 'abc')),
    request('with a body in chunks', http('POST /a', ['transfer-encoding: chunked'], '3\r\nabc\r\n0\r\n\r\n')),
    request('303 makes it a GET', http('POST /codes', ['x-status: 303', 'content-length: 3'], 'abc')),
    request('303 leaves HEAD', http('HEAD /codes', ['x-status: 303'])),
    request('301 and 307 keep the method', http('POST /codes', ['x-status: 307', 'content-length: 3'], 'abc')),
    request('a code that is not listed', http('GET /codes', ['x-status: 302'])),
    request('308 where only 302 is the default', http('GET /a', ['x-status: 308'])),
    request('too many', http('GET /loop')),
    request('no location', http('GET /none')),
    request('a relative location', http('GET /a', ['x-to: /end'])),
    request('an empty location', http('GET /a', ['x-to:'])),
    request('a location that is no URL', http('GET /a', ['x-to: http://'])),
    request('to a host that has no route', http('GET /a', ['x-to: http://elsewhere/end'])),
    request('to a port', http('GET /a', ['x-to: http://h:81/end'])),
    request('a query and a fragment', http('GET /a', ['x-to: http://h/end?x=1#top'])),
    request('no path', http('GET /a', ['x-to: http://h'])),
    request('to https', http('GET /a', ['x-to: https://h/end'])),
    request('to https where that is allowed', http('GET /cross', ['x-to: https://h/end'])),
    request('to https where that is not safe', http('GET /safe', ['x-to: https://h/end'])),
    request('to a listed route', http('GET /listed', ['x-to: http://h/end'])),
    request('to a route that is not listed', http('GET /listed', ['x-to: http://h/direct'])),
    request('twice to the same route', http('GET /previous', ['x-to: http://h/previous'])),
    request('copied headers', http('GET /copy', ['x-copied: old', 'x-absent: goes'])),
    request('a rewritten path', http('GET /rewrite/x')),
    request('with retries on', http('POST /retry', ['content-length: 3'], 'abc')),
    request('a body beyond the limit', http('POST /small', ['content-length: 8'], 'abcdefgh')),
    request('to a direct response', http('GET /a', ['x-to: http://h/direct'])),
    request('two on one connection', http('GET /a') + http('GET /end')),
  ],
);

for (const [name, fields] of Object.entries<Fields>({
  'an action': { internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT' },
  'an action, twice': { internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT', max_internal_redirects: 2 },
  'a number alone': { max_internal_redirects: 2 },
  'another action': { internal_redirect_action: 'PASS_THROUGH_INTERNAL_REDIRECT', max_internal_redirects: 2 },
  'an action beside a policy': {
    internal_redirect_action: 'HANDLE_INTERNAL_REDIRECT',
    internal_redirect_policy: { max_internal_redirects: 0 },
  },
})) {
  suite(
    `internal redirects as they were before policies, ${name}`,
    {
      config: httpProxy({ routes: [to('u1', '/', fields)] }, [alone]),
      upstreams: {
        u1: httpUpstream((seen) => {
          if (seen.path === '/once') return reply(302, '', ['location: http://h/end']);
          if (seen.path === '/twice') return reply(302, '', ['location: http://h/once']);
          if (seen.path === '/secure') return reply(302, '', ['location: https://h/end']);
          return seen.path === '/307' ? reply(307, '', ['location: http://h/end']) : reply(200, 'end');
        }),
      },
      stats: ['cluster.u1.upstream_internal_redirect'],
    },
    ['/once', '/twice', '/secure', '/307'].map((path) => request(path, http(`GET ${path}`))),
  );
}
