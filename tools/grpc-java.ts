/**
 * grpc-java with its xDS, pinned by `test/grpc-java/pom.xml`: what it needs is fetched by Maven into `.cache/grpc-java`, and our program
 * (`XdsPeer.java`) is compiled beside it. A JDK of Java 17 and Maven must be there, which is why it is no part of `npm test`:
 * `npm run test:grpc-java` asks for it.
 *
 *   bun tools/grpc-java.ts      fetches what is missing and says how the program is started
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root, run } from './stages.ts';

const sources = join(root, 'test', 'grpc-java');
const home = join(root, '.cache', 'grpc-java');
const PROGRAM = 'XdsPeer.java';
/** Puts the archives of a project and of all that they need into one folder. */
const COPY = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

/** Folders of one state of the sources. */
function folders(): { readonly archives: string; readonly classes: string } {
  const hash = createHash('sha256').update(readFileSync(join(sources, 'pom.xml')));
  const archives = join(home, `archives-${hash.copy().digest('hex').slice(0, 12)}`);
  hash.update(readFileSync(join(sources, PROGRAM)));
  return { archives, classes: join(home, `classes-${hash.digest('hex').slice(0, 12)}`) };
}

/** How the program is started; its arguments are appended. Throws where it is not installed. */
export function grpcJavaPeer(): readonly string[] {
  const { archives, classes } = folders();
  if (!existsSync(classes)) throw new Error('grpc-java is missing: run `node_modules/.bin/bun tools/grpc-java.ts`');
  return ['java', '-cp', `${classes}:${join(archives, '*')}`, 'XdsPeer'];
}

async function works(command: readonly string[]): Promise<boolean> {
  try {
    return (await Bun.spawn([...command], { stdout: 'ignore', stderr: 'ignore' }).exited) === 0;
  } catch {
    return false;
  }
}

/** Fetches and compiles what is missing. Throws where that is impossible. */
export async function installGrpcJava(): Promise<readonly string[]> {
  const { archives, classes } = folders();
  for (const tool of ['javac', 'mvn']) {
    if (!(await works([tool, '--version']))) {
      throw new Error(`grpc-java needs ${tool}: a JDK of Java 17 or later, and Maven 3`);
    }
  }
  mkdirSync(home, { recursive: true });
  if (!existsSync(archives)) {
    const fresh = `${archives}.new`;
    rmSync(fresh, { recursive: true, force: true });
    const flags = ['-B', '-q', '-f', join(sources, 'pom.xml'), `-Dmaven.repo.local=${join(home, 'repository')}`];
    if ((await run(['mvn', ...flags, COPY, `-DoutputDirectory=${fresh}`])) !== 0) {
      throw new Error('grpc-java could not be fetched: Maven needs a registry');
    }
    renameSync(fresh, archives);
  }
  if (!existsSync(classes)) {
    const fresh = `${classes}.new`;
    rmSync(fresh, { recursive: true, force: true });
    const command = ['javac', '-cp', join(archives, '*'), '-d', fresh, join(sources, PROGRAM)];
    if ((await run(command)) !== 0) throw new Error(`${PROGRAM} could not be compiled`);
    renameSync(fresh, classes);
  }
  return grpcJavaPeer();
}

if (import.meta.main) console.log((await installGrpcJava()).join(' '));
