import type {
  ListenerFilterChainMatchPredicate,
  ListenerFilter as ListenerFilterMessage,
} from '../../api/gen/envoy/config/listener/v3/listener_components_pb.d.ts';
import type { ByteBuffer } from '../../base/byte-buffer.ts';
import { type AcceptedSocket, ListenerFilter, PeekStatus } from '../../net/filter.ts';
import type { ListenerFilterBuilder } from '../../net/listener-chain.ts';
import type { WorkerEnvironment } from '../../pipeline/environment.ts';
import type { BuildContext } from '../build-context.ts';
import type { FieldSupport } from '../extension-registry.ts';
import { buildDiscovered, type DiscoveredExtension, EXTENSION_SOURCE_SUPPORT } from './discovered-extension.ts';

const PREDICATE = 'envoy.config.listener.v3.ListenerFilterChainMatchPredicate';

export const LISTENER_FILTER_SUPPORT: readonly FieldSupport[] = [
  { message: 'envoy.config.listener.v3.ListenerFilter', fields: 'name typed_config config_discovery filter_disabled' },
  ...EXTENSION_SOURCE_SUPPORT,
  { message: PREDICATE, fields: '*' },
  { message: `${PREDICATE}.MatchSet`, fields: '*' },
  { message: 'envoy.type.v3.Int32Range', fields: '*' },
];

/** Gives each worker its own builder: limits and clocks are the worker's. */
export type ListenerFilterMaker = (environment: WorkerEnvironment) => ListenerFilterBuilder;

type Predicate = (socket: AcceptedSocket) => boolean;

/**
 * The listener filters of `listener_filters`, in order. Errors are reported at the filter that they are of.
 * @param discovered takes those that are discovered
 */
export function buildListenerFilters(
  context: BuildContext,
  field: string,
  messages: readonly ListenerFilterMessage[],
  discovered: DiscoveredExtension<'listener-filter'>[] = [],
): ListenerFilterMaker[] {
  const makers: ListenerFilterMaker[] = [];
  messages.forEach((message, index) => {
    const at = context.at(`${field}[${index}]`);
    if (message.configType.case === 'configDiscovery') {
      const found = buildDiscovered(at, 'listener-filter', message.name, message.configType.value, false);
      if (found === null) return;
      discovered.push(found);
      add(at, message, (environment) => new DiscoveredListenerFilter(found, environment));
      return;
    }
    const any = message.configType.value;
    const maker = context.shared.extensions.build('listener-filter', at, 'typed_config', message.name, any);
    add(at, message, maker);
  });
  return makers;

  function add(at: BuildContext, message: ListenerFilterMessage, maker: ListenerFilterMaker | null): void {
    const disabled =
      message.filterDisabled === undefined ? null : buildPredicate(at.at('filter_disabled'), message.filterDisabled);
    if (maker !== null) makers.push(disabled === null ? maker : switchable(maker, disabled));
  }
}

function switchable(maker: ListenerFilterMaker, disabled: Predicate): ListenerFilterMaker {
  return (environment) => {
    const builder = maker(environment);
    return { createFilter: () => new SwitchableFilter(builder.createFilter(), disabled) };
  };
}

/** A listener filter whose configuration is discovered: connections keep the one that they began with. */
class DiscoveredListenerFilter implements ListenerFilterBuilder {
  readonly #extension: DiscoveredExtension<'listener-filter'>;
  readonly #environment: WorkerEnvironment;
  #made: ListenerFilterMaker | null = null;
  #builder: ListenerFilterBuilder | null = null;

  constructor(extension: DiscoveredExtension<'listener-filter'>, environment: WorkerEnvironment) {
    this.#extension = extension;
    this.#environment = environment;
  }

  /** Not while there is no configuration (`ListenerChainConfig.discovered`). */
  createFilter(): ListenerFilter {
    const current = this.#extension.current!;
    if (this.#made !== current) {
      this.#made = current;
      this.#builder = current(this.#environment);
    }
    return this.#builder!.createFilter();
  }
}

function buildPredicate(context: BuildContext, message: ListenerFilterChainMatchPredicate): Predicate {
  const { rule } = message;
  switch (rule.case) {
    case 'anyMatch':
      return () => true;
    case 'notMatch': {
      const inner = buildPredicate(context.at('not_match'), rule.value);
      return (socket) => !inner(socket);
    }
    case 'orMatch': {
      const inner = rule.value.rules.map((each, i) => buildPredicate(context.at(`or_match.rules[${i}]`), each));
      return (socket) => inner.some((each) => each(socket));
    }
    case 'andMatch': {
      const inner = rule.value.rules.map((each, i) => buildPredicate(context.at(`and_match.rules[${i}]`), each));
      return (socket) => inner.every((each) => each(socket));
    }
    case 'destinationPortRange': {
      const { start, end } = rule.value;
      // The port as it is when the filter's turn comes, so filters before it may have changed it (Envoy). `end` is exclusive.
      return ({ localAddress }) => localAddress.kind === 'ip' && localAddress.port >= start && localAddress.port < end;
    }
    default:
      context.refuse(
        '',
        'a rule is missing',
        'give one of or_match, and_match, not_match, any_match, destination_port_range',
      );
      return () => false;
  }
}

/** A filter that some connections pass by (`filter_disabled`). */
class SwitchableFilter extends ListenerFilter {
  readonly #filter: ListenerFilter;
  readonly #disabled: Predicate;

  constructor(filter: ListenerFilter, disabled: Predicate) {
    super();
    this.#filter = filter;
    this.#disabled = disabled;
  }

  get maxPeekBytes(): number {
    return this.#filter.maxPeekBytes;
  }

  override onAccept(socket: AcceptedSocket): PeekStatus {
    return this.#disabled(socket) ? PeekStatus.Continue : this.#filter.onAccept(socket);
  }

  override onPeek(socket: AcceptedSocket, data: ByteBuffer, end: boolean): PeekStatus {
    return this.#filter.onPeek(socket, data, end);
  }
}
