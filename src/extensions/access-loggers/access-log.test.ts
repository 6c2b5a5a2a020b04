import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { AccessLog } from '../../api/gen/envoy/config/accesslog/v3/accesslog_pb.d.ts';
import type { LocalReplyConfig } from '../../api/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.d.ts';
import { buildAccessLog } from '../../config/builders/access-log.ts';
import { buildLocalReplies } from '../../config/builders/local-reply.ts';
import { RequestHeaders, ResponseHeaders } from '../../http/header-map.ts';
import { AccessLogType, type LogContext } from '../../pipeline/access-logger.ts';
import type { WorkerEnvironment } from '../../pipeline/environment.ts';
import { TraceReason } from '../../pipeline/request-id.ts';
import { ResponseFlag } from '../../pipeline/response-flag.ts';
import { StreamInfo } from '../../pipeline/stream-info.ts';
import { wireText } from '../../routing/wire-text.ts';
import { metadataFormatter } from '../formatters/metadata/factory.ts';
import { reqWithoutQueryFormatter } from '../formatters/req-without-query/factory.ts';
import { fileAccessLogger, fileAccessLoggerV2 } from './file/factory.ts';
import { stderrAccessLogger } from './stderr/factory.ts';
import { stdoutAccessLogger } from './stdout/factory.ts';

const FACTORIES = [
  fileAccessLogger,
  fileAccessLoggerV2,
  stdoutAccessLogger,
  stderrAccessLogger,
  metadataFormatter,
  reqWithoutQueryFormatter,
];
const FILE = 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog';

/** Builds a logger, lets it log, and gives what it wrote, by path. */
function logged(yaml: string, ...contexts: LogContext[]): Record<string, string> {
  const on = new TestBuild(FACTORIES);
  const make = buildAccessLog(on.context, on.message<AccessLog>('envoy.config.accesslog.v3.AccessLog', yaml));
  expect(on.errors).toEqual([]);
  const out: Record<string, string> = {};
  const logFiles = {
    open: (path: string) => ({
      write: (line: string) => {
        out[path] = (out[path] ?? '') + line;
      },
    }),
  };
  const logger = make!({ logFiles } as unknown as WorkerEnvironment);
  for (const context of contexts) logger.log(context);
  return out;
}

function errors(yaml: string): string[] {
  const on = new TestBuild(FACTORIES);
  const built = buildAccessLog(on.context, on.message<AccessLog>('envoy.config.accesslog.v3.AccessLog', yaml));
  expect(built === null).toBe(on.errors.length > 0);
  return on.errors;
}

interface Facts {
  status?: number;
  durationMs?: number;
  flags?: number;
  healthCheck?: boolean;
  traced?: boolean;
  headers?: Record<string, string>;
  grpcStatus?: string;
  metadata?: Record<string, string | number | null>;
  type?: AccessLogType;
}

function context(facts: Facts = {}): LogContext & { responseHeaders: ResponseHeaders } {
  const stream = new StreamInfo(null, Date.UTC(2026, 0, 1), 1000, 7);
  stream.responseCode = facts.status ?? 200;
  stream.endMs = 1000 + (facts.durationMs ?? 0);
  stream.responseFlags = facts.flags ?? 0;
  stream.healthCheck = facts.healthCheck ?? false;
  if (facts.traced) stream.traceReason = TraceReason.ServiceForced;
  if (facts.metadata !== undefined) stream.setDynamicMetadata('ns', facts.metadata);
  const requestHeaders = new RequestHeaders();
  requestHeaders.method = 'GET';
  requestHeaders.path = '/p';
  for (const [name, value] of Object.entries(facts.headers ?? {})) requestHeaders.add(name, value);
  const responseHeaders = ResponseHeaders.of(facts.status ?? 200);
  if (facts.grpcStatus !== undefined) responseHeaders.add('grpc-status', facts.grpcStatus);
  const logType = facts.type ?? AccessLogType.DownstreamEnd;
  return { stream, requestHeaders, responseHeaders, responseTrailers: null, logType };
}

function passes(filter: string, facts: Facts = {}): boolean {
  const log = `{ name: a, filter: ${filter}, typed_config: { "@type": "${FILE}", path: /dev/null, format: "x" } }`;
  return logged(log, context(facts))['/dev/null'] === 'x';
}

describe('access loggers', () => {
  test('file: the default format, log_format and the deprecated fields', () => {
    const file = (fields: string): string =>
      logged(`{ name: a, typed_config: { "@type": "${FILE}", path: /dev/null${fields} } }`, context())['/dev/null']!;
    expect(file('')).toStartWith('[2026-01-01T00:00:00.000Z] "GET /p -" 200 - 0 0 0 - "-" "-"');
    expect(file(', format: ""')).toStartWith('[2026-01-01T00:00:00.000Z] "GET /p -"');
    expect(file(', format: "%RESPONSE_CODE%\\n"')).toBe('200\n');
    expect(file(', json_format: { a: "%RESPONSE_CODE%" }')).toBe('{"a":200}\n');
    expect(file(', typed_json_format: { a: "%RESPONSE_CODE%", b: 1 }')).toBe('{"a":200,"b":1}\n');
    expect(file(', log_format: { text_format: "t%REQ(no)%", omit_empty_values: true }')).toBe('t');
    expect(file(', log_format: { text_format_source: { inline_string: "%REQ(no)%" } }')).toBe('-');
    expect(
      file(', log_format: { json_format: { l: [1, { n: null }] }, json_format_options: { sort_properties: true } }'),
    ).toBe('{"l":[1,{"n":null}]}\n');
  });

  test('formatters', () => {
    const extension = (name: string): string =>
      `{ name: x, typed_config: { "@type": "type.googleapis.com/envoy.extensions.formatter.${name}" } }`;
    const formatters = `[${extension('req_without_query.v3.ReqWithoutQuery')}, ${extension('metadata.v3.Metadata')}]`;
    const format = `{ text_format: "%REQ_WITHOUT_QUERY(:path)% %METADATA(DYNAMIC:ns:k)%", formatters: ${formatters} }`;
    const on = context({ metadata: { k: 'v' } });
    on.requestHeaders!.path = '/a?b';
    expect(
      logged(`{ name: a, typed_config: { "@type": "${FILE}", path: /dev/null, log_format: ${format} } }`, on),
    ).toEqual({
      '/dev/null': '/a v',
    });
  });

  test('standard streams and the version 2 message', () => {
    const stream = (kind: string): string =>
      `{ name: a, typed_config: { "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.${kind}AccessLog", log_format: { text_format: x } } }`;
    expect(logged(stream('Stdout'), context())).toEqual({ '/dev/stdout': 'x' });
    expect(logged(stream('Stderr'), context())).toEqual({ '/dev/stderr': 'x' });
    const v2 =
      '{ name: envoy.file_access_log, typed_config: { "@type": "type.googleapis.com/envoy.config.accesslog.v2.FileAccessLog", path: /dev/null, format: "x" } }';
    expect(logged(v2, context())).toEqual({ '/dev/null': 'x' });
  });

  test('what is wrong is refused, where it is wrong', () => {
    const at = (fields: string): string => `{ name: a, typed_config: { "@type": "${FILE}", ${fields} } }`;
    expect(errors(at('path: /nonexistent/dir/x.log'))[0]).toContain(
      "unable to open file '/nonexistent/dir/x.log': No such file or directory",
    );
    expect(errors(at('path: /tmp'))[0]).toContain('Is a directory');
    expect(errors(at('path: /dev/null, log_format: {}'))[0]).toContain('a format is missing');
    expect(errors(at('path: /dev/null, log_format: { text_format_source: { filename: /nonexistent } }'))[0]).toContain(
      'Invalid path: /nonexistent',
    );
    expect(
      errors(at('path: /dev/null, log_format: { text_format_source: { environment_variable: NO_SUCH_V } }'))[0],
    ).toContain("Environment variable doesn't exist: NO_SUCH_V");
    expect(errors('{ name: envoy.access_loggers.nope }')).toHaveLength(1);
    expect(errors(`{ name: a, filter: {}, typed_config: { "@type": "${FILE}", path: /dev/null } }`)).toHaveLength(1);
    const flags = '{ response_flag_filter: { flags: [UF, URXX] } }';
    expect(errors(`{ name: a, filter: ${flags}, typed_config: { "@type": "${FILE}", path: /dev/null } }`)[0]).toContain(
      'URXX',
    );
  });
});

describe('access-log filters, as Envoy 1.40 decides', () => {
  const compare = (kind: string, op: string, value: number): string =>
    `{ ${kind}: { comparison: { op: ${op}, value: { default_value: ${value}, runtime_key: k } } } }`;

  test('status code and duration', () => {
    expect(passes(compare('status_code_filter', 'EQ', 200))).toBe(true);
    expect(passes(compare('status_code_filter', 'GE', 500), { status: 499 })).toBe(false);
    expect(passes(compare('status_code_filter', 'GE', 500), { status: 500 })).toBe(true);
    expect(passes(compare('status_code_filter', 'LE', 399), { status: 400 })).toBe(false);
    expect(passes(compare('status_code_filter', 'NE', 200), { status: 200 })).toBe(false);
    expect(passes(compare('duration_filter', 'GE', 10), { durationMs: 9.99 })).toBe(false);
    expect(passes(compare('duration_filter', 'GE', 10), { durationMs: 10 })).toBe(true);
  });

  test('health checks, traced requests, log types', () => {
    expect(passes('{ not_health_check_filter: {} }')).toBe(true);
    expect(passes('{ not_health_check_filter: {} }', { healthCheck: true })).toBe(false);
    expect(passes('{ traceable_filter: {} }')).toBe(false);
    expect(passes('{ traceable_filter: {} }', { traced: true })).toBe(true);
    expect(passes('{ log_type_filter: { types: [DownstreamEnd] } }')).toBe(true);
    expect(passes('{ log_type_filter: { types: [DownstreamEnd], exclude: true } }')).toBe(false);
    expect(passes('{ log_type_filter: { types: [TcpPeriodic] } }')).toBe(false);
  });

  test('runtime: by x-request-id', () => {
    const share = (numerator: number): string =>
      `{ runtime_filter: { runtime_key: k, percent_sampled: { numerator: ${numerator}, denominator: HUNDRED } } }`;
    // 0x0000000a = 10
    const headers = { 'x-request-id': '0000000a-0000-4000-8000-000000000000' };
    expect(passes(share(10), { headers })).toBe(false);
    expect(passes(share(11), { headers })).toBe(true);
    expect(passes(share(0))).toBe(false);
    expect(passes(share(100))).toBe(true);
  });

  test('and, or', () => {
    const yes = '{ not_health_check_filter: {} }';
    const no = '{ traceable_filter: {} }';
    expect(passes(`{ and_filter: { filters: [${yes}, ${yes}] } }`)).toBe(true);
    expect(passes(`{ and_filter: { filters: [${yes}, ${no}] } }`)).toBe(false);
    expect(passes(`{ or_filter: { filters: [${no}, ${yes}] } }`)).toBe(true);
    expect(passes(`{ or_filter: { filters: [${no}, ${no}] } }`)).toBe(false);
  });

  test('headers', () => {
    expect(passes('{ header_filter: { header: { name: ":path", string_match: { prefix: /p } } } }')).toBe(true);
    const inverted = '{ header_filter: { header: { name: no, string_match: { prefix: /p }, invert_match: true } } }';
    expect(passes(inverted)).toBe(false);
    expect(
      passes('{ header_filter: { header: { name: X-A, present_match: true } } }', { headers: { 'x-a': '' } }),
    ).toBe(true);
  });

  test('response flags', () => {
    expect(passes('{ response_flag_filter: {} }')).toBe(false);
    expect(passes('{ response_flag_filter: {} }', { flags: ResponseFlag.NoRouteFound })).toBe(true);
    expect(passes('{ response_flag_filter: { flags: [UF, DPE] } }', { flags: ResponseFlag.NoRouteFound })).toBe(false);
    expect(passes('{ response_flag_filter: { flags: [UF, NR] } }', { flags: ResponseFlag.NoRouteFound })).toBe(true);
  });

  test('gRPC status: by the HTTP status where there is none', () => {
    expect(passes('{ grpc_status_filter: { statuses: [UNKNOWN] } }')).toBe(true);
    expect(passes('{ grpc_status_filter: { statuses: [OK] } }')).toBe(false);
    expect(passes('{ grpc_status_filter: { statuses: [PERMISSION_DENIED] } }', { grpcStatus: '7' })).toBe(true);
    expect(passes('{ grpc_status_filter: { statuses: [OK], exclude: true } }', { grpcStatus: '7' })).toBe(true);
    expect(passes('{ grpc_status_filter: { statuses: [UNKNOWN] } }', { grpcStatus: '99' })).toBe(false);
  });

  test('metadata', () => {
    const metadata = { k: 'v', n: null };
    const filter = (matcher: string, more = ''): string => `{ metadata_filter: { matcher: ${matcher}${more} } }`;
    const key = (name: string, value: string): string => `{ filter: ns, path: [{ key: ${name} }], value: ${value} }`;
    expect(passes(filter(key('k', '{ string_match: { exact: v } }')), { metadata })).toBe(true);
    expect(passes(filter(key('k', '{ string_match: { exact: z } }')), { metadata })).toBe(false);
    expect(
      passes(filter('{ filter: ns, path: [{ key: k }], value: { string_match: { exact: v } }, invert: true }'), {
        metadata,
      }),
    ).toBe(true);
    expect(passes(filter(key('none', '{ string_match: { exact: z } }')), { metadata })).toBe(true);
    expect(
      passes(filter(key('none', '{ string_match: { exact: z } }'), ', match_if_key_not_found: false'), { metadata }),
    ).toBe(false);
    expect(passes(filter(key('n', '{ null_match: {} }'), ', match_if_key_not_found: false'), { metadata })).toBe(true);
    expect(passes('{ metadata_filter: {} }', { metadata })).toBe(true);
    expect(passes('{ metadata_filter: { match_if_key_not_found: false } }', { metadata })).toBe(false);
  });
});

describe('local_reply_config, as Envoy 1.40 rewrites', () => {
  const status = (code: number): string =>
    `filter: { status_code_filter: { comparison: { op: EQ, value: { default_value: ${code}, runtime_key: k } } } }`;
  const YAML = `
mappers:
- ${status(500)}
  status_code: 510
  body: { inline_string: "mapped %PROTOCOL%" }
  headers_to_add:
  - header: { key: x-m, value: "[%RESPONSE_CODE%][%REQ(nope)%][%RESP(:status)%][%LOCAL_REPLY_BODY%]" }
  - header: { key: x-e, value: "%REQ(nope)%" }
- ${status(502)}
  body_format_override: { text_format_source: { inline_string: "" } }
- ${status(503)}
  body_format_override: { json_format: { code: "%RESPONSE_CODE%", body: "%LOCAL_REPLY_BODY%" } }
- ${status(504)}
  status_code: 200
  body_format_override:
    text_format_source: { inline_string: "<b>é%LOCAL_REPLY_BODY%:%RESPONSE_CODE%</b>" }
    content_type: text/html; charset=UTF-8
- ${status(510)}
  status_code: 511
body_format: { text_format_source: { inline_string: "F(%LOCAL_REPLY_BODY%)%RESPONSE_CODE%-%REQ(nope)%" } }
`;

  function rewritten(code: number, body: string) {
    const on = new TestBuild(FACTORIES);
    const type = 'envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig';
    const config = buildLocalReplies(on.context, 'local_reply_config', on.message<LocalReplyConfig>(type, YAML));
    expect(on.errors).toEqual([]);
    const reply = context({ status: code });
    const out = config.rewrite(reply, reply.responseHeaders, body);
    expect(reply.stream.localReplyBody).toBe('');
    expect(reply.stream.responseCode).toBe(reply.responseHeaders.status);
    return { ...out, status: reply.responseHeaders.status, headers: reply.responseHeaders.list };
  }

  test('the body format for all', () => {
    expect(rewritten(400, 'Bad Request')).toEqual({
      body: 'F(Bad Request)400--',
      contentType: 'text/plain',
      status: 400,
      headers: [],
    });
  });

  test('the first mapper that matches: status, body, headers made before both are changed', () => {
    expect(rewritten(500, 'b500')).toEqual({
      body: 'F(mapped %PROTOCOL%)510--',
      contentType: 'text/plain',
      status: 510,
      headers: ['x-m', '[500][][500][]'],
    });
  });

  test('formats of a mapper’s own', () => {
    expect(rewritten(502, 'b502')).toEqual({ body: '', contentType: 'text/plain', status: 502, headers: [] });
    expect(rewritten(503, 'b503')).toEqual({
      body: '{"body":"b503","code":503}\n',
      contentType: 'application/json',
      status: 503,
      headers: [],
    });
    expect(rewritten(504, wireText('ü€'))).toEqual({
      body: wireText('<b>éü€:200</b>'),
      contentType: 'text/html; charset=UTF-8',
      status: 200,
      headers: [],
    });
  });
});
