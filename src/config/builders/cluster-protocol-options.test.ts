import { describe, expect, test } from 'bun:test';
import { TestBuild } from '../../../test/support/build-messages.ts';
import type { Cluster } from '../../api/gen/envoy/config/cluster/v3/cluster_pb.d.ts';
import type { Http2Options } from '../../http/h2/http2-options.ts';
import { ProtocolChoice } from '../../upstream/upstream-protocol.ts';
import { FieldSupportTable } from '../field-support.ts';
import { CLUSTER_SUPPORT } from './cluster.ts';
import { buildProtocolSettings, type ProtocolSettings } from './cluster-protocol-options.ts';

const TYPE = 'envoy.config.cluster.v3.Cluster';
const NAME = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';

function build(yaml: string): { settings: ProtocolSettings; errors: string[] } {
  const on = new TestBuild([]);
  const message = on.message<Cluster>(TYPE, `name: c\n${yaml}`);
  new FieldSupportTable([CLUSTER_SUPPORT]).check(on.context, on.shared.api.message(TYPE)!, message);
  return { settings: buildProtocolSettings(on.context, message), errors: on.errors };
}

function built(yaml: string): ProtocolSettings {
  const { settings, errors } = build(yaml);
  expect(errors).toEqual([]);
  return settings;
}

const typed = (fields: string): string =>
  `typed_extension_protocol_options: { ${NAME}: { "@type": type.googleapis.com/${NAME}, ${fields} } }`;
const http2 = (fields: string): Http2Options =>
  built(typed(`explicit_http_config: { http2_protocol_options: { ${fields} } }`)).http2;

describe('the protocol of a cluster', () => {
  test.each([
    ['', ProtocolChoice.Http1],
    ['http2_protocol_options: {}', ProtocolChoice.Http2],
    ['http2_protocol_options: {}\nprotocol_selection: USE_DOWNSTREAM_PROTOCOL', ProtocolChoice.Downstream],
    [typed('explicit_http_config: { http_protocol_options: {} }'), ProtocolChoice.Http1],
    [typed('explicit_http_config: { http2_protocol_options: {} }'), ProtocolChoice.Http2],
    [typed('use_downstream_protocol_config: {}'), ProtocolChoice.Downstream],
    [
      `${typed('auto_config: {}')}\ntransport_socket: { name: tls, typed_config: { "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext } }`,
      ProtocolChoice.Auto,
    ],
  ])('%s', (yaml, choice) => {
    // Transport sockets have tests of their own.
    const { settings, errors } = build(yaml);
    expect(errors.filter((error) => !error.includes('transport_socket'))).toEqual([]);
    expect(settings.protocol).toBe(choice);
  });

  test('what is wrong', () => {
    expect(build(typed('auto_config: {}')).errors[0]).toContain('ALPN configured for cluster c');
    expect(build(typed('')).errors[0]).toContain('value is required');
    expect(build(typed('auto_config: { http3_protocol_options: {} }')).errors[0]).toContain('http3_protocol_options');
  });

  test('auto_sni and its like', () => {
    const fields = 'auto_sni: true, auto_san_validation: true, override_auto_sni_header: X-Name';
    const settings = built(
      typed(`upstream_http_protocol_options: { ${fields} }, explicit_http_config: { http_protocol_options: {} }`),
    );
    expect([settings.autoSni, settings.autoSanValidation, settings.overrideAutoSniHeader]).toEqual([
      true,
      true,
      'x-name',
    ]);
  });
});

describe('HTTP/2 options', () => {
  test("Envoy's defaults", () => {
    expect(http2('')).toMatchObject({
      hpackTableSize: 4096,
      maxConcurrentStreams: 1024,
      initialStreamWindowSize: 16 * 1024 * 1024,
      initialConnectionWindowSize: 24 * 1024 * 1024,
      allowConnect: false,
      maxOutboundFrames: 10_000,
      maxOutboundControlFrames: 1000,
      maxHeadersBytes: 80 * 1024,
    });
  });

  test('all fields', () => {
    const options = http2(`hpack_table_size: 0, max_concurrent_streams: 2, initial_stream_window_size: 65535,
      initial_connection_window_size: 65536, allow_connect: true, max_outbound_frames: 3, max_outbound_control_frames: 4,
      max_consecutive_inbound_frames_with_empty_payload: 5, max_inbound_priority_frames_per_stream: 6,
      max_inbound_window_update_frames_per_data_frame_sent: 7, stream_reset_burst: 8, stream_reset_rate: 9,
      enable_huffman_encoding: false, max_header_field_size_kb: 70, disallow_obs_text: true, override_stream_error_on_invalid_http_message: true,
      custom_settings_parameters: [{ identifier: 10, value: 11 }],
      connection_keepalive: { interval: 1s, timeout: 2s, interval_jitter: { value: 3 }, connection_idle_interval: 4s }`);
    expect(options).toMatchObject({
      hpackTableSize: 0,
      maxConcurrentStreams: 2,
      initialStreamWindowSize: 65_535,
      initialConnectionWindowSize: 65_536,
      allowConnect: true,
      maxOutboundFrames: 3,
      maxOutboundControlFrames: 4,
      maxConsecutiveInboundFramesWithEmptyPayload: 5,
      maxInboundPriorityFramesPerStream: 6,
      maxInboundWindowUpdateFramesPerDataFrameSent: 7,
      streamResetBurst: 8,
      streamResetRate: 9,
      huffman: false,
      maxFieldBytes: 70 * 1024,
      disallowObsText: true,
      streamErrorOnInvalidHttpMessage: true,
      customSettings: [{ identifier: 10, value: 11 }],
      keepaliveIntervalMs: 1000,
      keepaliveTimeoutMs: 2000,
      keepaliveJitterPercent: 3,
      keepaliveIdleIntervalMs: 4000,
    });
  });

  test.each([
    ['custom_settings_parameters: [{ identifier: 8, value: 1 }]', 'allow_connect'],
    ['custom_settings_parameters: [{ identifier: 2, value: 1 }]', 'server push'],
    ['custom_settings_parameters: [{ identifier: 9, value: 1 }, { identifier: 9, value: 2 }]', 'inconsistent'],
    ['max_concurrent_streams: 5, custom_settings_parameters: [{ identifier: 3, value: 1 }]', 'max_concurrent_streams'],
  ])('refused: %s', (fields, words) => {
    const { errors } = build(typed(`explicit_http_config: { http2_protocol_options: { ${fields} } }`));
    expect(errors.join('\n')).toContain(words);
  });
});
