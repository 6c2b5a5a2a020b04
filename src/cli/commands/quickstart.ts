import type { RunningPilot } from '../../control-plane/pilot-process.ts';
import type { QuickstartDirectory } from '../../control-plane/quickstart/quickstart-directory.ts';
import { parseLogLevel } from '../../main/log-levels.ts';
import { DEFAULT_FLAGS } from '../../main/server-flags.ts';
import { FlagError } from '../flags.ts';
import {
  flagsHelp,
  limitsOf,
  numberFlag,
  PILOT_FLAGS,
  type PilotFlagSpec,
  type PilotFlagValues,
  placeFlag,
  readPilotFlags,
} from '../pilot-flags.ts';

export const QUICKSTART_FLAGS: readonly PilotFlagSpec[] = [
  {
    name: 'demo-services',
    value: '',
    fallback: '',
    help: 'The proxy plays the services of the directory itself: at the address of each endpoint, something answers with the name of the service.',
  },
  {
    name: 'gateway',
    value: 'NAMESPACE/NAME',
    fallback: '',
    help: 'Which gateway the proxy is, where the manifests have several.',
  },
  {
    name: 'admin',
    value: 'HOST:PORT',
    fallback: '127.0.0.1:9901',
    help: 'Where the admin server of the proxy listens.',
  },
  {
    name: 'listen',
    value: 'HOST:PORT',
    fallback: '127.0.0.1:18000',
    help: 'Where discovery is served: further proxies may follow too.',
  },
  { name: 'concurrency', value: 'N', fallback: '1', help: 'Workers of the proxy.' },
  {
    name: 'log-level',
    value: 'LEVEL',
    fallback: 'warning',
    help: "Of the proxy's log on standard error; what the control plane takes and refuses is always told.",
  },
];

const ABOUT = `usage: nuncio quickstart [flags] DIRECTORY

A control plane and a proxy that follows it, in one process: DIRECTORY/manifests (Gateway API) and DIRECTORY/resources (of Envoy) are
served; each edit is in force at once. Without either, the directory itself holds manifests. Beside manifests the proxy gets of the resources
what a group of nodes has that fits its gateway (resources/groups/NAME/group.yaml).

`;

/** `nuncio quickstart`. Runs until it is told to stop. @returns the exit code */
export async function quickstartCommand(args: readonly string[]): Promise<number> {
  if (args.length === 0 || args.includes('--help') || args.includes('-h')) {
    (args.length === 0 ? process.stderr : process.stdout).write(`${ABOUT}${flagsHelp(QUICKSTART_FLAGS)}`);
    return args.length === 0 ? 1 : 0;
  }
  // The directory stands last, as the usage says.
  const directory = args.at(-1)!;
  const values = readPilotFlags(QUICKSTART_FLAGS, args.slice(0, -1));
  const logLevel = parseLogLevel(values['log-level'] ?? '');
  if (logLevel === null) throw new FlagError(`--log-level is no '${values['log-level']}'`, '');
  const admin = placeFlag(values, 'admin');
  const { readQuickstart } = await import('../../control-plane/quickstart/quickstart-directory.ts');
  const { quickstartBootstrap } = await import('../../control-plane/quickstart/quickstart-bootstrap.ts');
  const content = readQuickstart(directory, values.gateway ?? '');
  const pilot = await startBeside(values, content);
  const place = placeFlag({ at: pilot.address }, 'at');
  const played = values['demo-services'] === 'true' ? content.endpoints : [];
  const flags = {
    ...DEFAULT_FLAGS,
    configYaml: quickstartBootstrap(content, place, admin, played),
    concurrency: numberFlag(values, 'concurrency', 1, 1024),
    logLevel,
  };
  tell(directory, content, values, pilot);
  const { serve } = await import('../../main/process.ts');
  try {
    return await serve(flags, 'text');
  } finally {
    pilot.stop();
  }
}

async function startBeside(values: PilotFlagValues, content: QuickstartDirectory): Promise<RunningPilot> {
  const { startPilot } = await import('../../control-plane/pilot-process.ts');
  const { loadSockets } = await import('../../main/socket-runtime.ts');
  const { loadTls } = await import('../../main/tls-runtime.ts');
  const settings = {
    ...placeFlag(values, 'listen'),
    debug: null,
    resources: content.resources,
    manifests: content.manifests,
    statusFile: '',
    security: null,
    mesh: null,
    serverNames: [],
    limits: limitsOf(readPilotFlags(PILOT_FLAGS, [])),
    drainMs: 0,
    // Its plans and complaints are what the person at the keyboard looks at.
    logLevel: 'info' as const,
  };
  return startPilot(settings, await loadSockets(), await loadTls());
}

function tell(directory: string, content: QuickstartDirectory, values: PilotFlagValues, pilot: RunningPilot): void {
  const isPlayed = values['demo-services'] === 'true';
  const lines = [
    `nuncio quickstart: ${directory}`,
    `  proxy      node.cluster ${content.cluster}, admin http://${values.admin}`,
    `  discovery  ${pilot.address}`,
    ...content.ports.map((port) => `  traffic    http://localhost:${port}`),
    ...content.endpoints.map(
      ({ service, address, port }) => `  service    ${service} at ${address}:${port}${isPlayed ? ', played here' : ''}`,
    ),
    `Edit a file below ${directory}: it is in force at once. Ctrl-C ends.`,
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
