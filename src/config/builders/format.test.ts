import { describe, expect, test } from 'bun:test';
import type { JsonObject } from '@bufbuild/protobuf';
import { SeededRandom } from '../../base/random.ts';
import { BytesMeter, Protocol } from '../../http/codec.ts';
import { HeaderMap, RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { ipAddress } from '../../net/address.ts';
import type { Connection } from '../../net/connection.ts';
import { AccessLogType, type LogContext } from '../../pipeline/access-logger.ts';
import { BUILTIN_OPERATORS } from '../../pipeline/format/builtin-operators.ts';
import { REQ_WITHOUT_QUERY } from '../../pipeline/format/header-operators.ts';
import { TableParser } from '../../pipeline/format/operator-table.ts';
import { ResponseFlag } from '../../pipeline/response-flag.ts';
import { StreamInfo, UpstreamInfo } from '../../pipeline/stream-info.ts';
import { EMPTY_RUNTIME } from '../../routing/runtime-fraction.ts';
import { Host, hostSpec } from '../../upstream/host.ts';
import { BuildContext, type BuildScope } from '../build-context.ts';
import { buildHeaderFormatter, buildJsonFormat, buildTextFormat, DEFAULT_LOG_FORMAT } from './format.ts';

function scope(): BuildContext {
  const shared = { errors: [], warnings: [], runtime: EMPTY_RUNTIME } as unknown as BuildScope;
  return new BuildContext(shared);
}

/** What a compiler says against a format string. */
function refusal(format: string): { reason: string; hint: string } | null {
  const context = scope();
  const built = buildTextFormat(context, 'f', format);
  expect(built === null).toBe(context.errorCount > 0);
  const [issue] = context.shared.errors;
  return issue === undefined ? null : { reason: issue.reason, hint: issue.hint };
}

function text(format: string, context: LogContext = sample()): string {
  const built = scope();
  const formatter = buildTextFormat(built, 'f', format);
  if (formatter === null) throw new Error(built.shared.errors[0]!.reason);
  return formatter.format(context);
}

function json(struct: JsonObject, omitEmpty = false, context: LogContext = sample()): string {
  const built = scope();
  const formatter = buildJsonFormat(built, 'f', struct, omitEmpty);
  if (formatter === null) throw new Error(built.shared.errors[0]!.reason);
  return formatter.format(context);
}

function connection(fields: object): Connection {
  const local = ipAddress('127.0.0.1', 10000);
  const remote = ipAddress('127.0.0.1', 55756);
  return {
    id: 1,
    localAddress: local,
    directLocalAddress: local,
    remoteAddress: remote,
    directRemoteAddress: remote,
    requestedServerName: '',
    filterChainName: 'fc1',
    ja3: '',
    ja4: '',
    startMs: 99,
    transportFailureReason: '',
    localCloseReason: '',
    terminationDetails: '',
    detectedRemoteReset: false,
    security: null,
    dispatcher: { wallMs: START, clock: { monotonicMs: () => 102 } },
    ...fields,
    roundTripMs: () => 3,
  } as unknown as Connection;
}

const START = Date.UTC(2026, 10, 22, 18, 17, 57) + 560.922;

/** A proxied request, with the values that a real Envoy logged for such a one. */
function sample(): LogContext & { requestHeaders: RequestHeaders; responseHeaders: ResponseHeaders } {
  const stream = new StreamInfo(connection({}), START, 100, 7);
  stream.protocol = Protocol.Http11;
  stream.responseCode = 200;
  stream.responseCodeDetails = 'via_upstream';
  stream.bytesSent = 100000;
  stream.endMs = 101.99;
  stream.lastRxByteMs = 100.2;
  stream.lastTxByteMs = 101.5;
  stream.firstTxByteMs = 101.4;
  stream.downstreamMeter = new BytesMeter();
  stream.downstreamMeter.wireBytesReceived = 62;
  stream.listener = { name: 'lst' };
  stream.requestId = 'ce512492-0ef0-497c-9ac4-e31e49f5a054';
  stream.virtualClusterName = 'vc1';
  const upstream = new UpstreamInfo();
  upstream.clusterName = 'up';
  upstream.clusterStatName = 'altup';
  upstream.clusterMetadata = { ns: { a: { b: 1.5, c: [1, 'x', true, null] }, s: 'str', n: 100000, é: 'ü' } };
  upstream.host = new Host(hostSpec(ipAddress('127.0.0.1', 9999), { hostname: 'host.example:99' }), 'up', 0);
  upstream.earlierHosts = [upstream.host];
  upstream.earlierConnectionIds = [2];
  upstream.connection = connection({ id: 3, localCloseReason: 'some reason', remoteAddress: ipAddress('::1', 9999) });
  upstream.attemptCount = 2;
  upstream.firstByteReceivedMs = 100.9;
  upstream.transportFailureReason = 'delayed connect error: Connection refused';
  stream.upstream = upstream;
  const requestHeaders = new RequestHeaders();
  requestHeaders.method = 'GET';
  requestHeaders.scheme = 'http';
  requestHeaders.authority = 'h.example';
  requestHeaders.path = '/p%20q/x?a=1%20&b=2&a=3&c=&d&e=%E9';
  requestHeaders.add('user-agent', 'ua/long');
  requestHeaders.add('x-dup', '1');
  requestHeaders.add('x-dup', '2');
  requestHeaders.add('x-empty', '');
  requestHeaders.add('x-e', '\u00c3\u00a9');
  requestHeaders.add('x-bad', 'a\u00ff"z');
  requestHeaders.add('x-q', 'a"b\\c/d\u00c3\u00a9\t1');
  const responseHeaders = ResponseHeaders.of(200);
  responseHeaders.add('x-up', 'a');
  responseHeaders.add('x-up', 'b');
  const responseTrailers = new HeaderMap();
  responseTrailers.add('t', 'trail');
  return { stream, requestHeaders, responseHeaders, responseTrailers, logType: AccessLogType.DownstreamEnd };
}

/** As a codec error leaves it: hardly anything is known. */
function bare(): LogContext {
  const stream = new StreamInfo(null, START, 100, 7);
  return { stream, requestHeaders: null, responseHeaders: null, responseTrailers: null, logType: AccessLogType.NotSet };
}

describe('format strings: syntax, checked against Envoy 1.40', () => {
  const command = (format: string, position: number): string =>
    `Incorrect configuration: ${format}. Couldn't find valid command at position ${position}`;

  test.each([
    ['%', command('%', 0)],
    ['a%b', command('a%b', 1)],
    ['%REQ', command('%REQ', 0)],
    ['%REQ(a):x%', command('%REQ(a):x%', 0)],
    ['%REQ(a):-1%', command('%REQ(a):-1%', 0)],
    ['%REQ(a)x%', command('%REQ(a)x%', 0)],
    ['%req(a)%', command('%req(a)%', 0)],
    ['x%REQ(a)%y%', command('x%REQ(a)%y%', 10)],
    ['%START_TIME(%', command('%START_TIME(%', 0)],
    ['%START_TIME(\n)%', command('%START_TIME(\n)%', 0)],
    ['%REQ%', 'REQ requires parameters'],
    ['%REQ()%', 'REQ requires parameters'],
    ['%REQ(a?b?c)%', 'More than 1 alternative header specified in token: a?b?c'],
    ['%REQ(a b)%', 'Invalid header configuration. Format string contains invalid characters.'],
    ['%REQ(é)%', 'Invalid header configuration. Format string contains invalid characters.'],
    ['%PROTOCOL(x)%', 'PROTOCOL does not take any parameters or length'],
    ['%PROTOCOL:3%', 'PROTOCOL does not take any parameters or length'],
    ['%NOPE%', 'Not supported field in StreamInfo: NOPE'],
    ['%START_TIME(%Y):3%', 'START_TIME does not allow length to be specified.'],
    ['%START_TIME(%n)%', 'Invalid header configuration. Format string contains newline.'],
    ['%START_TIME(%-_5En)%', 'Invalid header configuration. Format string contains newline.'],
    ['%DYNAMIC_METADATA%', 'DYNAMIC_METADATA requires parameters'],
    ['%CLUSTER_METADATA(a):3%', 'CLUSTER_METADATA does not allow length to be specified.'],
    ['%FILTER_STATE%', 'Invalid filter state configuration, key cannot be empty.'],
    ['%FILTER_STATE(k:NO)%', 'Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.'],
    ['%FILTER_STATE(k:FIELD)%', 'Invalid filter state serialize type, FIELD should be used with the field name.'],
    ['%FILTER_STATE(k:PLAIN:f)%', 'Invalid filter state serialize type, FIELD should be used with the field name.'],
    ['%COMMON_DURATION(a)%', 'Invalid common duration configuration: a.'],
    ['%COMMON_DURATION(a:b:xx)%', 'Invalid common duration precision: xx.'],
    ['%COMMON_DURATION(a:b:ms):3%', 'COMMON_DURATION does not allow length to be specified.'],
    ['%GRPC_STATUS(X)%', 'GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: X'],
    ['%GRPC_STATUS():1%', 'GRPC_STATUS does not allow length to be specified.'],
    ['%QUERY_PARAMS(x)%', "Invalid QUERY_PARAMS option: 'x', only 'ORIG'/'DECODED' are allowed"],
    ['%PATH(X)%', "Invalid PATH option: 'X', only 'WQ'/'NQ' are allowed"],
    ['%PATH(WQ:X)%', "Invalid PATH option: 'X', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"],
    ['%COALESCE({})%', "COALESCE: JSON configuration must contain 'operators' array"],
    ['%COALESCE({"operators":[]})%', "COALESCE: 'operators' array must not be empty"],
    ['%COALESCE({"operators":["REQ"]})%', 'COALESCE: failed to parse operator at index 0: REQ requires parameters'],
    ['%COALESCE({"operators":["NOPE"]})%', "COALESCE: failed to parse operator at index 0: unknown command: 'NOPE'"],
    ['%XFCC_VALUE%', 'XFCC_VALUE command requires a subcommand'],
    ['%XFCC_VALUE(zz)%', 'XFCC_VALUE command does not support subcommand: zz'],
    ['%ENVIRONMENT%', 'ENVIRONMENT requires parameters'],
    ['%METADATA(NOPE:a)%', 'NOPE is not supported type of metadata'],
    ['%METADATA%', ' is not supported type of metadata'],
    ['%REQ_WITHOUT_QUERY(a)%', 'Not supported field in StreamInfo: REQ_WITHOUT_QUERY'],
  ])('%j is refused', (format, reason) => {
    expect(refusal(format)?.reason).toStartWith(reason);
  });

  test.each([
    '',
    '%%',
    '%REQ(a):3%',
    '%PROTOCOL()%',
    '%START_TIME()%',
    '%START_TIME(a(b)c)%',
    '%DYNAMIC_METADATA(a:b):3%',
    '%COMMON_DURATION(a:b)%',
    '%QUERY_PARAMS:3%',
    '%PATH(NQ:ORIG_OR_PATH)%',
    '%RESPONSE_CODE_DETAILS(X)%',
    '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(x)%',
    '%UPSTREAM_METADATA(["a","b"])%',
    '%REQ(X-A?)%',
    '%REQ(?a)%',
    '%METADATA(CLUSTER)%',
    '%REQ(a)%%RESP(b)%',
  ])('%j is accepted', (format) => {
    expect(refusal(format)).toBeNull();
  });

  test('hints', () => {
    expect(refusal('100%')?.hint).toContain('%%');
    expect(refusal('%req(a)%')?.hint).toContain('capitals');
    expect(refusal('%RESPONCE_CODE%')?.hint).toBe('did you mean RESPONSE_CODE?');
    expect(refusal('x %NOPE%')?.reason).toContain('(at position 2 of the format string)');
    expect(refusal('%REQ_WITHOUT_QUERY(a)%')?.hint).toContain('envoy.formatter.req_without_query');
  });

  test('all errors at once', () => {
    const context = scope();
    buildTextFormat(context, 'f', '%NOPE% %REQ% %PROTOCOL% %');
    expect(context.shared.errors.map((each) => each.reason.slice(0, 20))).toEqual([
      'Not supported field ',
      'REQ requires paramet',
      'Incorrect configurat',
    ]);
  });

  test('what cannot be served is refused, not faked', () => {
    for (const format of ['%CEL(request.path)%', '%ROUTE_RESOLUTION_TIME_US%', '%METADATA(LISTENER:a)%']) {
      expect(refusal(format)?.reason).toStartWith('not supported yet');
    }
  });

  test('every operator of Envoy 1.40 is known', async () => {
    const missing: string[] = [];
    const known = new Set(BUILTIN_OPERATORS.names);
    const listed = await Bun.file(new URL('./testdata/envoy-1.40-operators.txt', import.meta.url)).text();
    for (const name of listed.trim().split(/\s+/)) if (!known.has(name)) missing.push(name);
    // Operators of extensions: they come by `formatters`.
    expect(missing).toEqual(['FILE_CONTENT', 'REQ_WITHOUT_QUERY', 'SECRET']);
  });

  test('fuzz: never throws, and an accepted format always renders', () => {
    const random = new SeededRandom(12345);
    const names = [...BUILTIN_OPERATORS.names];
    const bits = [
      '%',
      '%%',
      '(',
      ')',
      ':',
      '3',
      'a',
      '?',
      '\n',
      'é',
      '{"operators":["PROTOCOL"]}',
      '%Y',
      ' ',
      '"',
      '\\',
    ];
    let accepted = 0;
    for (let round = 0; round < 4000; round++) {
      let format = '';
      for (let n = random.below(12); n >= 0; n--) {
        format += random.below(3) === 0 ? `%${names[random.below(names.length)]}` : bits[random.below(bits.length)];
      }
      const formatter = buildTextFormat(scope(), 'f', format);
      if (formatter === null) continue;
      accepted++;
      expect(typeof formatter.format(sample())).toBe('string');
      expect(typeof formatter.format(bare())).toBe('string');
    }
    expect(accepted).toBeGreaterThan(100);
  });
});

describe('operators: values that Envoy 1.40 logged', () => {
  test('the default format', () => {
    const context = sample();
    context.responseHeaders.set('x-envoy-upstream-service-time', '1');
    expect(text(DEFAULT_LOG_FORMAT, context)).toBe(
      '[2026-11-22T18:17:57.560Z] "GET /p%20q/x?a=1%20&b=2&a=3&c=&d&e=%E9 HTTP/1.1" 200 - 0 100000 1 1 ' +
        '"-" "ua/long" "-" "h.example" "127.0.0.1:9999"\n',
    );
    expect(text(DEFAULT_LOG_FORMAT, bare())).toBe(
      '[2026-11-22T18:17:57.560Z] "- - -" 0 - 0 0 0 - "-" "-" "-" "-" "-"\n',
    );
  });

  test.each([
    ['%START_TIME(%s)% %START_TIME(%s%3f)% %START_TIME(%3s)%', '1795371477 1795371477560 1795371477'],
    ['%START_TIME(%Y/%m/%d %H:%M:%S.%f)%', '2026/11/22 18:17:57.560922000'],
    ['%START_TIME(%3f|%6f|%9f|%1f|%5f|%7f)%', '560|560922|560922000|5|56092|5609220'],
    [
      '%START_TIME(%E3S|%E6S|%E*S|%E*f|%E4f|%Ez|%E*z|%E4Y|%ET|%::z|%:z|%:::z)%',
      '57.560|57.560922|57.560922|560922|5609|+00:00|+00:00:00|2026|T|+00:00:00|+00:00|+00',
    ],
    [
      '%START_TIME(%a|%A|%b|%B|%c|%C|%d|%D|%e|%F|%g|%G|%h|%H|%I|%j|%k|%l|%M|%m|%p|%P|%r|%R|%S|%T)%',
      'Sun|Sunday|Nov|November|Sun Nov 22 18:17:57 2026|20|22|11/22/26|22|2026-11-22|26|2026|Nov|18|06|326|18| 6|17|11|PM|pm|06:17:57 PM|18:17|57|18:17:57',
    ],
    [
      '%START_TIME(%u|%U|%V|%w|%W|%x|%X|%y|%Y|%z|%Z|%%|%q|%t)%',
      '7|47|47|0|46|11/22/26|18:17:57|26|2026|+0000|UTC|%|%q|\t',
    ],
    [
      '%START_TIME(%-d|%_d|%^a|%010Y|%Ey|%Od|%E9S|%E0S|%E15f|%E|%:|%Q|%v|%+|%N|%L|%i)%',
      '22|22|SUN|0000002026|26|22|57.560922000|57|560922000000000|%E|%:|%Q|%v|%+|%N|%L|%i',
    ],
    ['%QUERY_PARAM(a)%|%QUERY_PARAM(a):1%|%QUERY_PARAM(zz)%|%QUERY_PARAM(c)%|%QUERY_PARAM(d)%', '1 |1|-||'],
    ['%QUERY_PARAMS%', 'a=1%20&b=2&a=3&c=&d&e=%E9'],
    [
      '%PATH%|%PATH(NQ)%|%PATH(WQ:ORIG)%|%PATH(NQ:PATH)%|%PATH:3%',
      '/p%20q/x?a=1%20&b=2&a=3&c=&d&e=%E9|/p%20q/x|-|/p%20q/x|/p%',
    ],
    ['%REQ(x-none?user-agent)%|%REQ(X-NONE?x-none2)%|%REQ(user-agent):3%|%REQ(x-dup)%', 'ua/long|-|ua/|1'],
    [
      '%RESP(x-up)%|%RESP(:status)%|%TRAILER(t)%|%REQ(host)%|%REQ(:authority)%|%REQ(x-empty)%',
      'a|200|trail|h.example|h.example|',
    ],
    [
      '%UPSTREAM_HOST%|%UPSTREAM_HOST_NAME%|%UPSTREAM_HOST_NAME_WITHOUT_PORT%',
      '127.0.0.1:9999|host.example:99|host.example',
    ],
    [
      '%UPSTREAM_HOSTS_ATTEMPTED%|%UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT%',
      '127.0.0.1:9999,127.0.0.1:9999|127.0.0.1,127.0.0.1',
    ],
    [
      '%UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT%|%UPSTREAM_CONNECTION_IDS_ATTEMPTED%',
      'host.example,host.example|2,3',
    ],
    ['%UPSTREAM_CLUSTER%|%UPSTREAM_CLUSTER_RAW%|%VIRTUAL_CLUSTER_NAME%', 'altup|up|vc1'],
    ['%UPSTREAM_REMOTE_ADDRESS%|%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%UPSTREAM_REMOTE_PORT%', '[::1]:9999|::1|9999'],
    [
      '%UPSTREAM_LOCAL_CLOSE_REASON%|%UPSTREAM_TRANSPORT_FAILURE_REASON%',
      'some_reason|delayed_connect_error:_Connection_refused',
    ],
    ['%CLUSTER_METADATA(ns:a)%|%CLUSTER_METADATA(ns:a:b)%', '{"b":1.5,"c":[1,"x",true,null]}|1.5'],
    [
      '%CLUSTER_METADATA(ns:s)%|%CLUSTER_METADATA(ns:s:x)%|%CLUSTER_METADATA(no)%|%METADATA(CLUSTER:ns:s)%',
      'str|-|-|str',
    ],
    ['%CLUSTER_METADATA(ns:constructor)%|%CLUSTER_METADATA(constructor)%', '-|-'],
    [
      '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(24)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(MASK_PREFIX_LEN=8)%',
      '127.0.0.0/24|127.0.0.1',
    ],
    [
      '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(33)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(-1)%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(7)%',
      '0.0.0.0/0|127.0.0.1/32||126.0.0.0/7',
    ],
    ['%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(127)%|%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(128)%', '::/127|::1/128'],
    ['%ENVIRONMENT(NUNCIO_NO_SUCH)%|%CUSTOM_FLAGS%|%LOCAL_REPLY_BODY%', '-||'],
    [
      '%REQUESTED_SERVER_NAME%|%REQUESTED_SERVER_NAME(HOST_FIRST)%|%REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)%',
      '-|h.example|-',
    ],
    ['%DURATION%|%REQUEST_DURATION%|%RESPONSE_DURATION%|%RESPONSE_TX_DURATION%|%REQUEST_TX_DURATION%', '1|0|0|0|-'],
    ['%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%|%COMMON_DURATION(DS_CX_BEG:DS_RX_BEG)%', '1500|1'],
    [
      '%COMMON_DURATION(DS_RX_BEG:DS_RX_END:ns)%|%COMMON_DURATION(DS_TX_END:DS_RX_BEG)%|%COMMON_DURATION(a:b)%',
      '200000|-|-',
    ],
    ['%LISTENER_NAME%|%FILTER_CHAIN_NAME%|%ROUTE_NAME%|%STREAM_ID%', 'lst|fc1|-|ce512492-0ef0-497c-9ac4-e31e49f5a054'],
    [
      '%ACCESS_LOG_TYPE%|%DOWNSTREAM_DETECTED_CLOSE_TYPE%|%CONNECTION_ID%|%DOWNSTREAM_TLS_VERSION%',
      'DownstreamEnd|Normal|1|-',
    ],
    ['%COALESCE({"operators":["TRACE_ID",{"command":"REQ","param":":authority"}]})%', 'h.example'],
    ['%COALESCE({"operators":[{"command":"REQ","param":"x-empty"},"PROTOCOL"]})%', ''],
    ['%COALESCE({"operators":["PROTOCOL"]}):3%', 'HTT'],
    ['100%% é', '100% \u00c3\u00a9'],
  ])('%s', (format, expected) => {
    expect(text(format)).toBe(expected);
  });

  test('decoded query parameters', () => {
    const context = sample();
    context.requestHeaders.path = '/p?a%20b=c+d%26&b=%25+x%20%e9%41&x&a=%2&q=%zz%z';
    expect(text('%QUERY_PARAMS(DECODED)%', context)).toBe('a%20b=c+d&&b=%+x%20%e9A&x&a=2&q=zz%z');
    expect(text('%QUERY_PARAM(a b)%|%QUERY_PARAM(a%20b)%|%QUERY_PARAM(b)%|%QUERY_PARAM(x)%', context)).toBe(
      'c+d&|-|%+x \u00e9A|',
    );
  });

  test('x-forwarded-client-cert', () => {
    const context = sample();
    const value = (header: string, key: string): string => {
      context.requestHeaders.set('x-forwarded-client-cert', header);
      return text(`%XFCC_VALUE(${key})%`, context);
    };
    const long =
      'By=spiffe://a;Hash=ab;Subject="/C=US, \\"q\\"";URI=spiffe://b;URI=spiffe://b2;DNS=x.y;DNS=y.z,By=spiffe://c';
    expect(value(long, 'URI')).toBe('spiffe://b');
    expect(value(long, 'by')).toBe('spiffe://a');
    expect(value(long, 'Subject')).toBe('/C=US, "q"');
    expect(value(long, 'DNS')).toBe('x.y');
    expect(value('By=a;Hash=;URI="un', 'Hash')).toBe('-');
    expect(value('By=a;Hash=hh,By=b;URI=uuuuu', 'URI')).toBe('uuuuu');
    expect(value('By=a;Hash=h2;Cert="c%20\\"\\\\x";URI=,Hash=h3;chain=', 'Cert')).toBe('c%20"\\x');
    expect(value('By="a"x;Hash;Hash=h2;URI = s ; Cert=c,', 'URI')).toBe('s');
    expect(value('By="a"x;Hash;Hash=h2;URI = s ; Cert=c,', 'Hash')).toBe('');
  });

  // Envoy keeps a list, not a set: the differential tests of retries show it.
  test('response flags, in the order in which they were set', () => {
    const context = sample();
    context.stream.setFlag(ResponseFlag.UpstreamRetryLimitExceeded);
    context.stream.setFlag(ResponseFlag.UpstreamConnectionFailure);
    expect(text('%RESPONSE_FLAGS%|%RESPONSE_FLAGS_LONG%', context)).toBe(
      'URX,UF|UpstreamRetryLimitExceeded,UpstreamConnectionFailure',
    );
  });

  test('response code details keep their spaces only when asked', () => {
    const context = sample();
    context.stream.responseCodeDetails = 'a b\tc';
    expect(text('%RESPONSE_CODE_DETAILS%|%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%', context)).toBe('a_b_c|a b\tc');
  });

  test('gRPC status', () => {
    const context = sample();
    const all = '%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%';
    expect(text(all, context)).toBe('-|-|-|-');
    context.requestHeaders.set('content-type', 'application/grpc-web');
    expect(text(all, context)).toBe('-|-|-|-');
    context.requestHeaders.set('content-type', 'application/grpc+proto');
    expect(text(all, context)).toBe('Unknown|UNKNOWN|2|2');
    context.responseHeaders.set('grpc-status', '7');
    expect(text(all, context)).toBe('PermissionDenied|PERMISSION_DENIED|7|7');
    context.responseTrailers!.set('grpc-status', '100');
    expect(text(all, context)).toBe('100|100|100|100');
    context.responseTrailers!.set('grpc-status', 'x');
    expect(text(all, context)).toBe('-1|-1|-1|-1');
  });

  test('dynamic metadata and filter state', () => {
    const context = sample();
    context.stream.setDynamicMetadata('x', { y: 'text', n: 5 });
    context.stream.setFilterState('k', { serialize: () => 'state', ipAddress: () => null });
    expect(text('%DYNAMIC_METADATA(x:y):2%|%DYNAMIC_METADATA(x)%|%DYNAMIC_METADATA(x:n)%', context)).toBe(
      'te|{"n":5,"y":"text"}|5',
    );
    expect(text('%FILTER_STATE(k:PLAIN)%|%FILTER_STATE(k)%|%FILTER_STATE(k:PLAIN):2%|%FILTER_STATE(z)%', context)).toBe(
      'state|"state"|st|-',
    );
  });

  test('REQ_WITHOUT_QUERY, of an extension', () => {
    const formatter = buildTextFormat(scope(), 'f', '%REQ_WITHOUT_QUERY(x-none?:path):4%', false, [
      new TableParser({ REQ_WITHOUT_QUERY }),
    ]);
    expect(formatter?.format(sample())).toBe('/p%2');
  });

  test('local time', () => {
    expect(text('%START_TIME_LOCAL%')).toMatch(/^2026-11-2\dT\d\d:\d\d:57\.560[+-]\d{4}$/);
  });
});

describe('JSON formats', () => {
  test('sorted, typed, with null for what is absent', () => {
    const line = json({
      z: '%REQ(nope)%',
      b: 'x%REQ(nope)%y',
      a: { n: '%REQ(nope)%', m: ['%REQ(nope)%', 'lit', { q: '%PROTOCOL%' }], e: {} },
      num: '%RESPONSE_CODE%',
      numlit: 'code %RESPONSE_CODE%',
      é: 'ü%REQ(x-e)%',
      B: '%CLUSTER_METADATA(ns:a)%',
      'esc"\n': '"\u0001\\/\u007f',
      coal: '%COALESCE({"operators":["RESPONSE_CODE"]})%',
      e: '',
    });
    expect(Buffer.from(line, 'latin1').toString('utf8')).toBe(
      '{"B":{"b":1.5,"c":[1,"x",true,null]},"a":{"e":{},"m":[null,"lit",{"q":"HTTP/1.1"}],"n":null},"b":"x-y",' +
        '"coal":200,"e":"","esc\\"\\n":"\\"\\u0001\\\\/\u007f","num":200,"numlit":"code 200","z":null,"é":"üé"}\n',
    );
  });

  test('omit_empty_values leaves out null and empty objects, not empty lists', () => {
    expect(
      json(
        {
          e: {},
          l: [],
          m: ['%REQ(nope)%'],
          o: { x: '%REQ(nope)%' },
          lit: '',
          emp: '%REQ(x-empty)%',
          multi: '%REQ(nope)%%REQ(nope)%',
          ll: [['%REQ(nope)%'], {}],
          nul: null,
          num: 1.5,
        },
        true,
      ),
    ).toBe('{"emp":"","l":[],"lit":"","ll":[[]],"m":[],"multi":"","num":1.5}\n');
    expect(json({ x: '%REQ(nope)%' }, true)).toBe('{}\n');
  });

  test('text that is not UTF-8 is escaped byte by byte', () => {
    expect(json({ bad: '%REQ(x-bad)%', q: '%REQ(x-q)%', multi: 'm:%REQ(x-bad)% %REQ(x-q)%' })).toBe(
      '{"bad":"a\\u00ff\\u0022z","multi":"m:a\\u00ff\\u0022z a\\"b\\\\c/d\u00c3\u00a9\\t1","q":"a\\"b\\\\c/d\u00c3\u00a9\\t1"}\n',
    );
  });

  test('numbers: whole ones of operators are written out, others are as short as they can be', () => {
    const numbers = [
      123456789.123,
      0.1,
      1e15,
      1.5e16,
      12345678901234.5,
      0.0001,
      0.00012,
      0.00001,
      1e20,
      1.8e19,
      -5,
      -1e19,
      1e300,
      5e-324,
      0.30000000000000004,
      100000.5,
      100000,
      50000,
      1000,
      Number('12345678901234567890'),
    ];
    expect(json({ n: numbers })).toBe(
      '{"n":[123456789.123,0.1,1e+15,1.5e+16,12345678901234.5,1e-04,0.00012,1e-05,1e+20,1.8e+19,-5,-1e+19,1e+300,' +
        '5e-324,0.30000000000000004,100000.5,1e+05,50000,1000,12345678901234567168]}\n',
    );
    expect(json({ b: '%BYTES_SENT%', m: '%CLUSTER_METADATA(ns:n)%', p: '%DOWNSTREAM_REMOTE_PORT%' })).toBe(
      '{"b":100000,"m":1e+05,"p":55756}\n',
    );
  });

  test('every error is reported with its path', () => {
    const context = scope();
    expect(buildJsonFormat(context, 'json_format', { a: '%NOPE%', b: { c: ['%REQ%'] } })).toBeNull();
    expect(context.shared.errors.map((each) => each.path)).toEqual(['json_format.a', 'json_format.b.c[0]']);
  });
});

describe('header values', () => {
  const header = (value: string): string => {
    const formatter = buildHeaderFormatter(scope(), 'value', value)!;
    return formatter.format(sample());
  };

  test('what is absent leaves nothing', () => {
    expect(header('[%REQ(nope)%][%DYNAMIC_METADATA(["a", "b"])%][%RESPONSE_FLAGS%][é]')).toBe('[][][-][\u00c3\u00a9]');
  });

  test('a literal costs no call', () => {
    expect(buildHeaderFormatter(scope(), 'value', '100%% é')?.constant).toBe('100% \u00c3\u00a9');
    expect(buildHeaderFormatter(scope(), 'value', '%PROTOCOL%')?.constant).toBeNull();
    expect(buildHeaderFormatter(scope(), 'value', '%HOSTNAME%')?.constant).toBeNull();
  });

  test('older spellings', () => {
    const context = sample();
    context.stream.setFilterState('k', { serialize: () => 'state', ipAddress: () => null });
    context.stream.setDynamicMetadata('a', { b: 'v' });
    const formatter = buildHeaderFormatter(scope(), 'value', '%PER_REQUEST_STATE(k)% %DYNAMIC_METADATA(["a","b"])%');
    expect(formatter?.format(context)).toBe('state v');
  });
});
