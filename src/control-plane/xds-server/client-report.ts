import { shortType } from './discovery-counts.ts';
import type { DiscoveryStream } from './discovery-stream.ts';
import type { SnapshotCache } from './snapshot-cache.ts';
import type { TypeSubscription } from './type-subscription.ts';

const stamp = (ms: number): string | null => (ms === 0 ? null : new Date(ms).toISOString());

/** Names that are listed of one type; a question about one node shows all. */
const MAX_NAMES = 20;

function typeReport(subscription: TypeSubscription, all: boolean): object {
  const { wildcard, names, refusal, sent, sentType } = subscription;
  const list = [...names];
  return {
    wildcard,
    names: all ? list : list.slice(0, MAX_NAMES),
    name_count: list.length,
    resources_held: sentType?.resources.size ?? sent.size,
    version_sent: subscription.sentVersion,
    version_acked: subscription.ackedVersion,
    responses: subscription.responses,
    unanswered: subscription.pending.length,
    sent_at: stamp(subscription.sentAtMs),
    acked_at: stamp(subscription.ackedAtMs),
    last_push_ms: subscription.pushMs < 0 ? null : Math.round(subscription.pushMs * 10) / 10,
    nack:
      refusal === null
        ? null
        : {
            version: refusal.version,
            detail: refusal.reason,
            at: stamp(refusal.atMs),
            times: refusal.count,
            retry_at: stamp(refusal.retryAtMs),
          },
  };
}

function streamReport(stream: DiscoveryStream, all: boolean): object {
  const { node, call } = stream;
  const { locality } = node ?? {};
  const peer = call.security?.peer;
  return {
    node: {
      id: node?.id ?? '',
      cluster: node?.cluster ?? '',
      locality: { region: locality?.region ?? '', zone: locality?.zone ?? '', sub_zone: locality?.subZone ?? '' },
      user_agent: node?.userAgentName ?? '',
      ...(all ? { metadata: node?.metadata ?? {} } : {}),
    },
    address: call.peer,
    tls: call.security === null ? null : { client: peer?.uriNames[0] ?? peer?.subject ?? '' },
    group: stream.group,
    protocol: stream.isDelta ? 'delta' : 'state of the world',
    stream: stream.onlyType === '' ? 'aggregated' : shortType(stream.onlyType),
    since: stamp(stream.openedAtMs),
    requests: stream.requests,
    types: Object.fromEntries(
      [...stream.subscriptions.values()].map((each) => [shortType(each.typeUrl), typeReport(each, all)]),
    ),
  };
}

/** Who is connected and has what. Never what the resources hold: there are secrets among them. @param nodeId empty: all */
export function clientsReport(streams: Iterable<DiscoveryStream>, nodeId: string): object[] {
  const out: object[] = [];
  for (const stream of streams) {
    if (nodeId === '' || stream.node?.id === nodeId) out.push(streamReport(stream, nodeId !== ''));
  }
  return out;
}

/** What there is to be had, by group of nodes. */
export function groupsReport(cache: SnapshotCache, streams: Iterable<DiscoveryStream>): object[] {
  const clients = new Map<string, number>();
  for (const { group } of streams) clients.set(group, (clients.get(group) ?? 0) + 1);
  return cache.groups.map((group) => {
    const snapshot = cache.get(group);
    const types = snapshot.typeUrls.map((typeUrl) => {
      const { version, resources } = snapshot.type(typeUrl);
      return [shortType(typeUrl), { version, resources: resources.size }];
    });
    return { group, streams: clients.get(group) ?? 0, types: Object.fromEntries(types) };
  });
}
