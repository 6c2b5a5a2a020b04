/** `header_key_format`: who received a message decides how its names are written. */
import { httpUpstream, reply } from '../support/scripted-upstream.ts';
import { bootstrap, cluster, type Fields, http, httpListener, to, typed } from './configs.ts';
import { request, suite } from './harness.ts';

const PRESERVE = 'envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig';
const preserve = (fields: Fields = {}): Fields => ({
  header_key_format: { stateful_formatter: { name: 'preserve_case', typed_config: typed(PRESERVE, fields) } },
});
const formats: Readonly<Record<string, Fields>> = {
  none: {},
  proper: { header_key_format: { proper_case_words: {} } },
  keep: preserve(),
  own: preserve({ formatter_type_on_envoy_headers: 'PROPER_CASE', forward_reason_phrase: true }),
};

const names = Object.keys(formats);
const withFormat = (name: string, format: Fields): Fields => {
  const type = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  return cluster(name, ['{{upstream:u1}}'], {
    typed_extension_protocol_options: {
      [type]: typed(type, { explicit_http_config: { http_protocol_options: format } }),
    },
  });
};

suite(
  'header case',
  {
    config: bootstrap(
      names.map((name) =>
        httpListener({
          name,
          hcm: { http_protocol_options: formats[name] },
          routes: names.map((to_) => to(to_, `/${to_}`, { timeout: '0s' })),
        }),
      ),
      names.map((name) => withFormat(name, formats[name]!)),
    ),
    upstreams: {
      u1: httpUpstream((seen) =>
        seen.path.endsWith('chunks')
          ? 'HTTP/1.1 200 Fine\r\nX-Upper: 1\r\nTransfer-ENCODING: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n'
          : reply(200, 'x', ['X-Upper: 1', 'x-lower: 2', 'SERVER: mine']).replace(' OK', ' Fine'),
      ),
    },
  },
  names.flatMap((listener) =>
    names.flatMap((upstream) => [
      request(
        `${listener} to ${upstream}`,
        http(`GET /${upstream}`, ['HOST: h', 'X-Some-THING: 1', 'x-other-thing: 2']),
        {
          listener,
        },
      ),
      request(
        `${listener} to ${upstream}, in chunks`,
        http(`POST /${upstream}/chunks`, ['TRANSFER-encoding: chunked', 'X-A: 1'], '1\r\na\r\n0\r\n\r\n'),
        { listener },
      ),
    ]),
  ),
);
