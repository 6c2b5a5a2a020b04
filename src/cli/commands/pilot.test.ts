import { afterAll, expect, test } from 'bun:test';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PILOT_FLAGS, readPilotFlags } from '../pilot-flags.ts';
import { settingsOf } from './pilot.ts';

const folder = mkdtempSync(join(tmpdir(), 'pilot-flags-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
mkdirSync(join(folder, 'r'));
mkdirSync(join(folder, 'm'));
symlinkSync('r', join(folder, 'link'));

const settings = (...args: string[]): ReturnType<typeof settingsOf> => settingsOf(readPilotFlags(PILOT_FLAGS, args));
const dirs = ['--resources', join(folder, 'r'), '--gateway-api', join(folder, 'm')];

test.each([
  ['a status without manifests', ['--resources', 'r', '--status', 's'], /needs --gateway-api/],
  ['a status among the manifests', [...dirs, '--status', join(folder, 'm/s')], /must not lie in/],
  ['a status among the resources', [...dirs, '--status', join(folder, 'r/sub/s')], /must not lie in/],
  ['a status among them by a link', [...dirs, '--status', join(folder, 'link/s.yaml')], /must not lie in/],
  ['client certificates without authorities', [...dirs, '--client-certificates', 'optional'], /needs --client-ca/],
  ['a trust domain without a mesh', [...dirs, '--trust-domain', 'x'], /needs --mesh-ca/],
  ['a life without a mesh', [...dirs, '--certificate-ttl-s', '60'], /needs --mesh-ca/],
  ['rules without a mesh', [...dirs, '--mesh-rules', 'x'], /needs --mesh-ca/],
  ['names without a mesh', [...dirs, '--server-names', 'x'], /needs --mesh-ca/],
  [
    'names beside a certificate',
    [...dirs, '--mesh-ca', 'm', '--tls-cert', 'c', '--tls-key', 'k', '--server-names', 'x'],
    /not beside --tls-cert/,
  ],
  ['an address that is none', [...dirs, '--mesh-ca', 'm', '--server-names', '1.2.3.400'], /neither a DNS name/],
  ['a name that is none', [...dirs, '--mesh-ca', 'm', '--server-names', 'a b'], /neither a DNS name/],
])('%s is refused', (_what, args, message) => {
  expect(() => settings(...args)).toThrow(message);
});

test('what belongs together is taken', () => {
  const names = settings(
    ...dirs,
    '--mesh-ca',
    'm',
    '--server-names',
    'pilot.mesh,127.0.0.1,::1',
    '--trust-domain',
    'x',
  );
  expect(names.serverNames).toEqual(['pilot.mesh', '127.0.0.1', '::1']);
  expect(settings(...dirs, '--status', join(folder, '..s.yaml')).statusFile).toBe(join(folder, '..s.yaml'));
  expect(settings(...dirs, '--status', join(folder, 'r.yaml')).statusFile).toBe(join(folder, 'r.yaml'));
});
