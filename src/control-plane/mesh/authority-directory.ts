import { createPrivateKey, type KeyObject, randomBytes, X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { certificateBlocks } from '../../config/secrets/pem.ts';
import { SecretFiles } from '../../config/secrets/secret-files.ts';
import { type Certificate, certificatesOf } from '../../net/tls/certificate.ts';
import { type Issued, issue, keyPem, makeRoot, newKey, type SubjectNames } from './x509-issuer.ts';

const KEY = 'root.key';
const ROOT = 'root.pem';
/** Further roots that are trusted: a former one, or the next. */
const OTHERS = 'other-roots.pem';

/** The authority of a mesh at one moment. */
interface Authority {
  readonly root: Certificate;
  readonly rootPem: string;
  readonly key: KeyObject;
  /** All that are trusted, the root first; PEM. */
  readonly bundlePem: string;
}

/**
 * Written beside its place first, and linked into it: it is there whole or not at all, and of two processes that begin at once one
 * wins. @returns whether this one has
 */
function createFile(path: string, text: string, mode: number): boolean {
  const draft = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    writeFileSync(draft, text, { mode, flag: 'wx' });
    linkSync(draft, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

/** @throws Error when others than the owner may read the key, or it is none */
function readKey(path: string): KeyObject {
  const { mode } = statSync(path);
  if ((mode & 0o077) !== 0) {
    const shown = (mode & 0o777).toString(8);
    throw new Error(`${path} is open to others (mode ${shown}): chmod 600 it, and think of who has read it`);
  }
  const key = createPrivateKey(readFileSync(path));
  if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') {
    throw new Error(`${path} is no key on P-256`);
  }
  return key;
}

/**
 * The authority of a mesh in a directory: `root.key` (made with mode 0600, in a directory of mode 0700), `root.pem`, and
 * `other-roots.pem`, if there is one. They are made when they are not there, and read again when they change.
 */
export class AuthorityDirectory {
  readonly trustDomain: string;
  readonly #directory: string;
  readonly #watch: SecretFiles;
  #authority: Authority;

  /**
   * @param onChange told after each attempt to read the directory again: what is wrong; empty: nothing
   * @throws Error when the directory cannot be made, or what it holds is not fit for use
   */
  constructor(directory: string, trustDomain: string, nowMs: number, onChange: (fault: string) => void) {
    this.trustDomain = trustDomain;
    this.#directory = directory;
    this.#create(nowMs);
    this.#authority = this.#read();
    this.#watch = new SecretFiles([this.#path(KEY), this.#path(ROOT), this.#path(OTHERS)], '', () => {
      try {
        const { bundlePem, rootPem } = this.#authority;
        this.#authority = this.#read();
        if (this.#authority.bundlePem !== bundlePem || this.#authority.rootPem !== rootPem) onChange('');
      } catch (error) {
        onChange((error as Error).message);
      }
    });
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  #create(nowMs: number): void {
    if (!existsSync(this.#directory)) {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      // A umask may have taken from it; nobody else gets anything either way.
      chmodSync(this.#directory, 0o700);
    }
    if (!existsSync(this.#path(KEY))) {
      if (existsSync(this.#path(ROOT))) throw new Error(`${this.#path(ROOT)} is there without its ${KEY}`);
      createFile(this.#path(KEY), keyPem(newKey()), 0o600);
    }
    if (existsSync(this.#path(ROOT))) return;
    createFile(this.#path(ROOT), makeRoot(readKey(this.#path(KEY)), this.trustDomain, nowMs), 0o644);
  }

  #read(): Authority {
    const key = readKey(this.#path(KEY));
    const text = readFileSync(this.#path(ROOT), 'latin1');
    const [block = ''] = certificateBlocks(text);
    const [root] = certificatesOf(block);
    if (root === undefined) throw new Error(`${this.#path(ROOT)} holds no certificate`);
    if (!new X509Certificate(block).checkPrivateKey(key)) throw new Error(`${KEY} is not the key of ${ROOT}`);
    if (!root.isAuthority) throw new Error(`${this.#path(ROOT)} is no authority`);
    const [name] = root.uriNames;
    if (name !== undefined && name !== `spiffe://${this.trustDomain}`) {
      throw new Error(`${this.#path(ROOT)} is of ${name}, not of spiffe://${this.trustDomain}`);
    }
    const others = existsSync(this.#path(OTHERS)) ? certificateBlocks(readFileSync(this.#path(OTHERS), 'latin1')) : [];
    for (const other of others) void new X509Certificate(other);
    const rootPem = root.pem;
    return { root, rootPem, key, bundlePem: [rootPem, ...others.map((other) => `${other}\n`)].join('') };
  }

  /** Everything that is trusted; PEM. */
  get bundlePem(): string {
    return this.#authority.bundlePem;
  }

  /** The root's own end, Unix ms. */
  get validToMs(): number {
    return this.#authority.root.validToMs;
  }

  issue(names: SubjectNames, nowMs: number, toMs: number): Issued {
    const { root, key } = this.#authority;
    return issue(root, key, this.trustDomain, names, nowMs, toMs);
  }

  close(): void {
    this.#watch.close();
  }
}
