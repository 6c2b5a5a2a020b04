/** Listeners and filter chains: what v2 wrote otherwise. */
import { TreeEntry, TreeMapping } from '../load/tree.ts';
import { namedSocket } from './cluster-rules.ts';
import { DOWNSTREAM_SOCKETS, LISTENER_FILTERS, NETWORK_FILTERS } from './extension-names.ts';
import { anyNode, isTrue, itemsOf, listNode, type MessageEdit, mapNode, textNode } from './message-edit.ts';
import { nameRule } from './named-extension.ts';
import type { Rule } from './upgrade-tree.ts';

const TLS_SOCKET = 'envoy.transport_sockets.tls';
const DOWNSTREAM_TLS = 'envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext';
const PROXY_PROTOCOL = 'envoy.filters.listener.proxy_protocol';

export const LISTENER_RULES: readonly (readonly [string, Rule])[] = [
  ['envoy.config.listener.v3.Listener', listener],
  ['envoy.config.listener.v3.FilterChain', filterChain],
  ['envoy.config.listener.v3.FilterChainMatch', chainMatch],
  ['envoy.config.listener.v3.Filter', (edit) => nameRule(edit, NETWORK_FILTERS, 'network filter', true)],
  ['envoy.config.listener.v3.ListenerFilter', (edit) => nameRule(edit, LISTENER_FILTERS, 'listener filter', true)],
  ['envoy.config.listener.v3.UdpListenerConfig', udpListener],
  ['envoy.config.listener.v3.QuicProtocolOptions', quicOptions],
];

function listener(edit: MessageEdit): void {
  const old = edit.entry('deprecated_v1');
  const bind = old?.value.kind === 'mapping' ? old.value.entry('bind_to_port') : undefined;
  if (old !== undefined && bind !== undefined) edit.replace(old, 'bind_to_port', bind.value);
  const reuse = edit.entry('reuse_port');
  if (reuse !== undefined) edit.replace(reuse, 'enable_reuse_port', reuse.value);
  useProxyProto(edit);
}

/** A flag of the chain became a filter of the listener: it had to be the same in all chains. */
function useProxyProto(edit: MessageEdit): void {
  const chainsEntry = edit.entry('filter_chains');
  const chains = itemsOf(chainsEntry?.value);
  const flags = chains.map((chain) =>
    chain.kind === 'mapping' ? (chain.entry('use_proxy_proto') ?? chain.entry('useProxyProto')) : undefined,
  );
  const first = flags.find((flag) => flag !== undefined);
  if (first === undefined || chainsEntry === undefined) return;
  const on = flags.filter((flag) => isTrue(flag?.value));
  if (on.length > 0 && on.length < chains.length) return;
  const items = chains.map((chain) => {
    if (chain.kind !== 'mapping') return chain;
    const rest = chain.entries.filter((entry) => !flags.includes(entry));
    if (rest.length === chain.entries.length) return chain;
    return new TreeMapping(rest, chain.source, chain.start, chain.end);
  });
  const { value } = chainsEntry;
  edit.put('filter_chains', listNode(items, value), chainsEntry);
  if (on.length > 0) {
    const type = LISTENER_FILTERS.get(PROXY_PROTOCOL)!.type;
    const filter = { name: textNode(PROXY_PROTOCOL, first), typed_config: anyNode(type, undefined, first) };
    edit.append('listener_filters', [mapNode(filter, first)], edit.entry('listener_filters') ?? chainsEntry);
  }
  const what = on.length > 0 ? `became the listener filter ${PROXY_PROTOCOL}` : 'removed: it is the default';
  edit.state.changed(first, edit.pathOf('filter_chains'), `use_proxy_proto: ${what}`, false);
}

function filterChain(edit: MessageEdit): void {
  const tls = edit.entry('tls_context');
  if (tls !== undefined) {
    const socket = { name: textNode(TLS_SOCKET, tls), typed_config: anyNode(DOWNSTREAM_TLS, tls.value, tls) };
    edit.replace(tls, 'transport_socket', mapNode(socket, tls));
  }
  namedSocket(edit, 'transport_socket', DOWNSTREAM_SOCKETS);
}

function chainMatch(edit: MessageEdit): void {
  const old = edit.entry('sni_domains');
  if (old === undefined) return;
  edit.take('sni_domains');
  edit.put('server_names', old.value, old);
  edit.state.changed(old, edit.pathOf('sni_domains'), 'sni_domains: became server_names', true);
}

function udpListener(edit: MessageEdit): void {
  for (const name of ['udp_listener_name', 'config', 'typed_config']) {
    const entry = edit.entry(name);
    if (entry === undefined) continue;
    edit.refuse(entry, 'how a UDP listener reads is told otherwise', 'see UdpListenerConfig of version 3');
  }
}

function quicOptions(edit: MessageEdit): void {
  const old = edit.entry('max_concurrent_streams');
  if (old === undefined) return;
  edit.take('max_concurrent_streams');
  const entry = new TreeEntry('max_concurrent_streams', old.value, old.source, old.keyStart, old.keyEnd);
  edit.merge('quic_protocol_options', [entry], old);
  edit.changed(old, 'became quic_protocol_options.max_concurrent_streams');
}
