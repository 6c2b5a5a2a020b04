const USAGE = `usage: nuncio status [--admin HOST:PORT]
       nuncio reload [--admin HOST:PORT] [--plan]
`;

const DEFAULT_ADMIN = '127.0.0.1:9901';

interface Asked {
  readonly admin: string;
  readonly plan: boolean;
}

function readArguments(args: readonly string[]): Asked | null {
  let admin = process.env.NUNCIO_ADMIN ?? DEFAULT_ADMIN;
  let plan = false;
  for (let index = 0; index < args.length; index++) {
    const argument = args[index]!;
    const value = args[index + 1];
    if (argument === '--plan') plan = true;
    else if (argument.startsWith('--admin=')) admin = argument.slice('--admin='.length);
    else if (argument === '--admin' && value !== undefined) {
      admin = value;
      index++;
    } else return null;
  }
  return { admin: admin.replace(/^http:\/\//, '').replace(/\/$/, ''), plan };
}

/** Asks the admin server of a running process. @returns the exit code: 0 when it answered 200 */
async function ask(admin: string, path: string, method: 'GET' | 'POST'): Promise<number> {
  let response: Response;
  try {
    response = await fetch(`http://${admin}${path}`, { method });
  } catch (error) {
    process.stderr.write(`no answer from the admin server at ${admin}: ${(error as Error).message}\n`);
    return 1;
  }
  const body = await response.text();
  (response.ok ? process.stdout : process.stderr).write(body);
  return response.ok ? 0 : 1;
}

/** `nuncio status`: what a running process waits for, and what it refused last. */
export function statusCommand(args: readonly string[]): Promise<number> {
  const asked = readArguments(args);
  if (asked === null || asked.plan) {
    process.stderr.write(USAGE);
    return Promise.resolve(1);
  }
  return ask(asked.admin, '/ready?verbose', 'GET');
}

/** `nuncio reload`: the running process reads its configuration file again. */
export function reloadCommand(args: readonly string[]): Promise<number> {
  const asked = readArguments(args);
  if (asked === null) {
    process.stderr.write(USAGE);
    return Promise.resolve(1);
  }
  return ask(asked.admin, asked.plan ? '/reload?plan' : '/reload', 'POST');
}
