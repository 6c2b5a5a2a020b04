/** Programs from Debian's archive, unpacked into a folder of our own, without root: for machines that do not have them. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';

/** Libraries by the package that brings them. */
const libraryPackages: readonly (readonly [library: string, name: string])[] = [
  ['libcrypt.so.1', 'libcrypt1'],
  ['libpcre2-8.so.0', 'libpcre2-8-0'],
  ['libssl.so.3', 'libssl3'],
  ['libcrypto.so.3', 'libssl3'],
  ['libz.so.1', 'zlib1g'],
  ['libnettle.so.8', 'libnettle8'],
  ['libxxhash.so.0', 'libxxhash0'],
  ['libnghttp2.so.14', 'libnghttp2-14'],
  ['libc-ares.so.2', 'libc-ares2'],
  ['libev.so.4', 'libev4'],
  ['libjansson.so.4', 'libjansson4'],
  ['libxml2.so.2', 'libxml2'],
  ['libsystemd.so.0', 'libsystemd0'],
  ['libicuuc.so.72', 'libicu72'],
  ['libjemalloc.so.2', 'libjemalloc2'],
  ['liblzma.so.5', 'liblzma5'],
  ['libstdc++.so.6', 'libstdc++6'],
  ['libnftables.so.1', 'libnftables1'],
  ['libnftnl.so.11', 'libnftnl11'],
  ['libmnl.so.0', 'libmnl0'],
  ['libxtables.so.12', 'libxtables12'],
  ['libedit.so.2', 'libedit2'],
  ['libbsd.so.0', 'libbsd0'],
  ['libmd.so.0', 'libmd0'],
  ['libgmp.so.10', 'libgmp10'],
];

/** Where on the machine programs are looked for, and where in a package. */
const BIN_FOLDERS = ['usr/sbin', 'usr/bin'];

export class DebianPackages {
  readonly #home: string;
  /** Root of what was unpacked. */
  readonly unpacked: string;

  /** @param home folder that is kept between runs */
  constructor(home: string) {
    this.#home = home;
    this.unpacked = join(home, 'root');
  }

  /** Path of a program, on the machine or unpacked; null: there is none. */
  find(program: string): string | null {
    for (const root of ['/', this.unpacked]) {
      for (const folder of BIN_FOLDERS) {
        const path = join(root, folder, program);
        if (existsSync(path)) return path;
      }
    }
    return null;
  }

  /** In which unpacked programs find their libraries. */
  get env(): Readonly<Record<string, string>> {
    if (!existsSync(this.unpacked)) return {};
    const found: string[] = [];
    for (const base of ['usr/lib', 'lib']) {
      const cwd = join(this.unpacked, base);
      if (!existsSync(cwd)) continue;
      for (const folder of new Bun.Glob('*-linux-gnu').scanSync({ cwd, onlyFiles: false }))
        found.push(join(cwd, folder));
    }
    return found.length === 0 ? {} : { LD_LIBRARY_PATH: found.join(':') };
  }

  async #quietly(command: readonly string[]): Promise<string | null> {
    const child = Bun.spawn([...command], {
      cwd: this.#home,
      stdout: 'pipe',
      stderr: 'ignore',
      env: { ...process.env, ...this.env },
    });
    const text = await new Response(child.stdout).text();
    return (await child.exited) === 0 ? text : null;
  }

  /** apt with its state in our folder, for machines whose package lists are missing or belong to root. */
  async #privateApt(): Promise<readonly string[] | null> {
    const state = join(this.#home, 'apt');
    for (const folder of ['lists/partial', 'cache/archives/partial']) {
      mkdirSync(join(state, folder), { recursive: true });
    }
    const options = [`Dir::State::lists=${state}/lists`, `Dir::Cache=${state}/cache`, 'Debug::NoLocking=1'];
    const command = ['apt-get', '-q', ...options.flatMap((option) => ['-o', option])];
    return (await this.#quietly([...command, 'update'])) === null ? null : command;
  }

  /** Downloads and unpacks a package. Throws where that is impossible. */
  async #fetch(name: string): Promise<void> {
    const had = new Set(new Bun.Glob('*.deb').scanSync(this.#home));
    if ((await this.#quietly(['apt-get', '-q', 'download', name])) === null) {
      const apt = await this.#privateApt();
      if (apt === null || (await this.#quietly([...apt, 'download', name])) === null) {
        throw new Error(`the Debian package ${name} could not be fetched: install it, or give apt a network`);
      }
    }
    for (const file of new Bun.Glob('*.deb').scanSync(this.#home)) {
      if (!had.has(file)) await this.#quietly(['dpkg-deb', '-x', file, this.unpacked]);
    }
  }

  /** Path of a program, fetched with its libraries where it is missing. Throws where that is impossible. */
  async install(program: string, packageName: string): Promise<string> {
    mkdirSync(this.#home, { recursive: true });
    if (this.find(program) === null) await this.#fetch(packageName);
    const path = this.find(program);
    if (path === null) throw new Error(`the Debian package ${packageName} brought no ${program}`);
    // A library may want another one.
    for (let round = 0; round < 6; round++) {
      const libraries = (await this.#quietly(['ldd', path])) ?? '';
      const missing = libraryPackages.filter(([library]) => libraries.includes(`${library} => not found`));
      if (missing.length === 0) break;
      for (const name of new Set(missing.map(([, owner]) => owner))) await this.#fetch(name);
    }
    return path;
  }
}
