/** `drop_overloads` of a load assignment. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http, httpListener, to } from './configs.ts';
import { refused, request, suite, validateSuite } from './harness.ts';

const dropping = (name: string, numerator: number, more: Fields = {}): Fields => ({
  ...cluster(name),
  load_assignment: {
    ...(cluster(name, ['{{upstream:u1}}']).load_assignment as Fields),
    policy: { drop_overloads: [{ category: 'throttle', drop_percentage: { numerator, ...more } }] },
  },
});

suite(
  'drop overloads',
  {
    config: bootstrap(
      [
        httpListener({
          log: '%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %UPSTREAM_CLUSTER%',
          routes: [to('all', '/all'), to('none', '/none'), to('nearly', '/nearly')],
        }),
        httpListener({
          name: 'quiet',
          log: '%RESPONSE_FLAGS%',
          router: { suppress_envoy_headers: true },
          routes: [to('all')],
        }),
      ],
      [
        dropping('all', 100),
        dropping('none', 0),
        // One in a million is let through.
        dropping('nearly', 999_999, { denominator: 'MILLION' }),
      ],
    ),
    upstreams: { u1: httpUpstream(() => reply(200, 'ok')) },
    log: 'access.log',
    stats: [/^cluster\..*upstream_rq_(?!.*time)/, 'http.ingress.downstream_rq_5'],
  },
  [
    request('all', http('GET /all')),
    request('none', http('GET /none')),
    request('nearly all', http('GET /nearly')),
    request('without headers of Envoy', http('GET /'), { listener: 'quiet' }),
  ],
);

const assignment = (drops: readonly Fields[]): Fields =>
  bootstrap(
    [],
    [{ name: 'c', type: 'STATIC', load_assignment: { cluster_name: 'c', policy: { drop_overloads: drops } } }],
  );
validateSuite('drop overloads', [
  refused(
    'two categories',
    assignment([
      { category: 'a', drop_percentage: {} },
      { category: 'b', drop_percentage: {} },
    ]),
  ),
  refused('more than all', assignment([{ category: 'a', drop_percentage: { numerator: 101 } }])),
]);
