import assert from 'node:assert/strict';
import { ByteBuffer } from '../../base/byte-buffer.ts';
import { SystemClock } from '../../base/clock.ts';
import { SystemRandom } from '../../base/random.ts';
import { type Address, ipAddress } from '../address.ts';
import { Dispatcher } from '../dispatcher.ts';
import type { AcceptedSocket } from '../filter.ts';
import { AcceptedPeers, connectTo, nextTurn, Peer, PLAIN, type RegisterTest } from '../transport.contract.ts';
import type { ListeningSocket, SocketRuntime, Transport } from '../transport.ts';
import { NO_SOCKET_OPTIONS, type TlsEngine, type TlsStats, type TransportSocketOptions } from '../transport-socket.ts';
import { RESET_FAILURE } from './failure-text.ts';
import {
  certificate,
  clientSettings,
  leafOf,
  PARAMETERS,
  pem,
  serverSettings,
  validation,
} from './testdata/settings.ts';
import {
  type SanMatcher,
  SanType,
  type TlsClientSettings,
  type TlsServerSettings,
  type TlsValidation,
} from './tls-settings.ts';

/** What an engine is known not to do, each with its reason in its documentation. */
export interface TlsContractGaps {
  /** `refusal` says no to these. */
  readonly refuses?: readonly string[];
  /** The runtime reports another word for what BoringSSL says. */
  readonly otherWords?: boolean;
  readonly noSessions?: boolean;
  /** Of a handshake that the runtime ends, nothing is known. */
  readonly noBrokenHandshakes?: boolean;
}

/** Counts in a plain object. */
class Counts implements TlsStats {
  readonly counted: Record<string, number> = {};
  readonly scope = { counter: (name: string) => this.#counter(name) };

  #counter(name: string) {
    return {
      inc: () => {
        this.counted[name] = (this.counted[name] ?? 0) + 1;
      },
    };
  }

  readonly connectionError = this.#counter('connection_error');
  readonly handshake = this.#counter('handshake');
  readonly sessionReused = this.#counter('session_reused');
  readonly noCertificate = this.#counter('no_certificate');
  readonly failVerifyNoCert = this.#counter('fail_verify_no_cert');
  readonly failVerifyError = this.#counter('fail_verify_error');
  readonly failVerifySan = this.#counter('fail_verify_san');
  readonly failVerifyCertHash = this.#counter('fail_verify_cert_hash');
  readonly ocspStaplingFailed = this.#counter('ocsp_staple_failed');
  readonly ocspStaplingOmitted = this.#counter('ocsp_staple_omitted');
  readonly ocspStaplingResponses = this.#counter('ocsp_staple_responses');
  readonly ocspStaplingRequests = this.#counter('ocsp_staple_requests');
  readonly wasKeyUsageInvalid = this.#counter('was_key_usage_invalid');

  get names(): string {
    return Object.keys(this.counted).sort().join(' ');
  }
}

export type MakeTls = (dispatcher: Dispatcher) => { readonly sockets: SocketRuntime; readonly engine: TlsEngine };

class Bench {
  readonly dispatcher = new Dispatcher(new SystemClock(), new SystemRandom());
  readonly sockets: SocketRuntime;
  readonly engine: TlsEngine;
  readonly serverCounts = new Counts();
  readonly clientCounts = new Counts();
  readonly bugs: unknown[] = [];
  readonly peers: Peer[] = [];
  readonly listeners: ListeningSocket[] = [];
  server: { current: TlsServerSettings | null } = { current: serverSettings() };
  client: { current: TlsClientSettings | null } = { current: clientSettings() };
  readonly #accepted = new AcceptedPeers();
  #listening: ListeningSocket | null = null;
  #clientSocket;

  constructor(make: MakeTls) {
    this.dispatcher.onBug = (error) => {
      this.bugs.push(error);
    };
    const { sockets, engine } = make(this.dispatcher);
    this.sockets = sockets;
    this.engine = engine;
    const bench = this;
    const client = {
      get current() {
        return bench.client.current;
      },
    };
    this.#clientSocket = engine.clientSocket(client, this.clientCounts);
  }

  get address() {
    this.#listening ??= this.#listen();
    return this.#listening.address;
  }

  #listen(): ListeningSocket {
    const bench = this;
    const source = {
      get current() {
        return bench.server.current;
      },
    };
    const socket = this.engine.serverSocket(source, this.serverCounts);
    const listener = this.sockets.listen(
      { ...PLAIN, address: ipAddress('127.0.0.1', 0) },
      {
        onAccept: (raw) => {
          const peer = new Peer(this.dispatcher);
          peer.transport = socket.accept(raw, {} as AcceptedSocket, new ByteBuffer(), false);
          peer.transport.setHandler(peer);
          this.peers.push(peer);
          this.#accepted.add(peer);
        },
      },
    );
    this.listeners.push(listener);
    return listener;
  }

  accepted(): Promise<Peer> {
    return this.#accepted.next();
  }

  dial(options: TransportSocketOptions = NO_SOCKET_OPTIONS, hostname = ''): Peer {
    const peer = new Peer(this.dispatcher);
    this.peers.push(peer);
    peer.transport = this.#clientSocket.connect(this.sockets, connectTo(this.address), { hostname }, options, peer);
    assert.deepEqual(peer.events, [], 'connect called back before it returned');
    return peer;
  }

  /** A client that speaks no TLS of itself. */
  raw(): Peer {
    const peer = new Peer(this.dispatcher);
    this.peers.push(peer);
    peer.transport = this.sockets.connect(connectTo(this.address), peer);
    return peer;
  }

  wrap(raw: Transport, peer: Peer): void {
    this.peers.push(peer);
    peer.transport = this.#clientSocket.wrap(raw, { hostname: '' }, NO_SOCKET_OPTIONS, peer);
  }

  async pair(
    options: TransportSocketOptions = NO_SOCKET_OPTIONS,
    hostname = '',
  ): Promise<{ client: Peer; server: Peer }> {
    const client = this.dial(options, hostname);
    const server = await this.accepted();
    const either = (peer: Peer) => peer.until(() => peer.events.length > 0, 'the handshake does not end');
    await Promise.all([either(client), either(server)]);
    for (const peer of [client, server]) assert.ok(peer.events.includes('open'), `refused: ${peer.error?.message}`);
    return { client, server };
  }

  /** The server refuses what the client presents. @returns the server's words */
  async refusedByServer(): Promise<string> {
    const client = this.dial();
    const server = await this.accepted();
    await server.hears('closed');
    assert.deepEqual(server.events, ['closed'], 'the server saw more than the end');
    await client.until(
      () => client.events.includes('closed') || client.events.includes('end'),
      'the client hears nothing',
    );
    assert.equal(client.received, 0);
    return server.error?.message ?? 'none';
  }

  /** The client refuses what the server presents. @returns the client's words */
  async refusedByClient(options: TransportSocketOptions = NO_SOCKET_OPTIONS): Promise<string> {
    const client = this.dial(options);
    const server = await this.accepted();
    await client.hears('closed');
    assert.deepEqual(client.events, ['closed'], 'the client saw more than the end');
    await server.until(
      () => server.events.includes('closed') || server.events.includes('end'),
      'the server hears nothing',
    );
    assert.equal(server.received, 0);
    return client.error?.message ?? 'none';
  }

  dispose(): void {
    for (const listener of this.listeners) listener.close();
    for (const peer of this.peers) peer.transport?.reset();
    assert.deepEqual(this.bugs.map(String), []);
  }
}

const VERIFY_FAILED =
  'TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: ';
const X509 = `${VERIFY_FAILED}X509_verify_cert: certificate verification error at depth `;
const LISTS = 'certificate revocation check against provided CRLs failed: ';

function exact(type: SanType, value: string, oid = ''): SanMatcher {
  return { type, oid, matches: (name) => name === value };
}

/** Client certificates on a server that checks them: what it says of each; empty: it lets them in. */
const CLIENTS: readonly (readonly [client: string, words: string])[] = [
  ['client', ''],
  ['client-rsa', ''],
  ['client-inter', ''],
  ['client-deep', ''],
  ['client-bare', ''],
  ['client-stranger', `${X509}0: unable to get local issuer certificate`],
  ['client-expired', `${X509}0: certificate has expired`],
  ['client-early', `${X509}0: certificate is not yet valid`],
  ['client-expired-stranger', `${X509}0: unable to get local issuer certificate`],
  ['client-serveronly', `${X509}0: unsupported certificate purpose`],
  ['client-by-leaf', `${X509}0: unable to get local issuer certificate`],
];

/** What every TLS engine must do, on real sockets. The contract of transports is another (`TlsRuntime`). */
export function tlsContract(test: RegisterTest, make: MakeTls, gaps: TlsContractGaps = {}): void {
  function check(name: string, body: (bench: Bench) => Promise<void>): void {
    test(name, async () => {
      const bench = new Bench(make);
      try {
        await body(bench);
      } finally {
        bench.dispose();
      }
    });
  }

  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const parameters = { ...PARAMETERS, minVersion: version, maxVersion: version };

    check(`${version}: what both ends know of the session`, async (bench) => {
      bench.server.current = serverSettings({ alpnProtocols: ['h2', 'http/1.1'], validation: validation() });
      bench.client.current = clientSettings({
        parameters,
        alpnProtocols: ['http/1.1', 'h2'],
        certificate: certificate('client-inter'),
      });
      const { client, server } = await bench.pair();
      for (const peer of [client, server]) {
        const { security } = peer.transport;
        assert.equal(security?.protocolVersion, version);
        assert.equal(security.alpn, 'h2');
        assert.equal(security.resumed, false);
        assert.ok(security.cipherId > 0 && security.cipherId < 0xffff);
        assert.ok(security.cipher.includes('GCM'));
        assert.equal(security.peerCertificatePresented, true);
        assert.equal(security.peerCertificateValidated, true);
      }
      const seen = server.transport.security!;
      assert.equal(seen.serverName, 'server.test');
      assert.equal(seen.local?.subject, 'CN=server-ec,O=Nuncio');
      assert.equal(seen.peer?.subject, 'CN=client-inter,O=Nuncio');
      assert.equal(seen.peer?.issuer, 'CN=inter,O=Nuncio');
      assert.deepEqual(seen.peer?.dnsNames, ['client.test']);
      assert.deepEqual(seen.peer?.uriNames, ['spiffe://nuncio/client']);
      assert.deepEqual(seen.peer?.emailNames, ['client@nuncio.test']);
      assert.deepEqual(seen.peer?.otherNames, ['upn@nuncio']);
      assert.equal(seen.peerChainPem.replace(/\s/g, ''), pem('client-inter').replace(/\s/g, ''));
      assert.equal(client.transport.security?.peer?.subject, 'CN=server-ec,O=Nuncio');
      assert.equal(client.transport.security?.local?.subject, 'CN=client-inter,O=Nuncio');
      const { cipher } = seen;
      assert.deepEqual(bench.serverCounts.counted, {
        handshake: 1,
        [`ciphers.${cipher}`]: 1,
        [`versions.${version}`]: 1,
        [`curves.${'Bun' in globalThis && version === 'TLSv1.3' ? 'X25519MLKEM768' : 'X25519'}`]: 1,
        'sigalgs.ecdsa_secp256r1_sha256': 1,
      });
      assert.equal(bench.clientCounts.names, bench.serverCounts.names);
      client.send('question');
      await server.gets(8);
      server.transport.close();
      await client.hears('end');
      // Facts outlive the socket: access logs are written then.
      assert.equal(seen.peer?.subject, 'CN=client-inter,O=Nuncio');
    });

    check(`${version}: a session is resumed, and its client is judged again`, async (bench) => {
      const settings = serverSettings({ validation: validation(), requireClientCertificate: true });
      bench.server.current = settings;
      bench.client.current = clientSettings({ parameters, certificate: certificate('client'), maxSessionKeys: 2 });
      for (const resumed of [false, true]) {
        const { client, server } = await bench.pair();
        server.send('ticket');
        await client.gets(6);
        await nextTurn();
        if (gaps.noSessions !== true) {
          assert.equal(server.transport.security?.resumed, resumed);
          assert.equal(client.transport.security?.resumed, resumed);
        }
        assert.equal(server.transport.security?.peer?.subject, 'CN=client,O=Nuncio');
        assert.equal(server.transport.security?.peerCertificateValidated, true);
        client.transport.close();
        server.transport.close();
      }
      if (gaps.noSessions !== true) assert.equal(bench.serverCounts.counted.session_reused, 1);
    });

    check(`${version}: a session does not pass by checks that are newer than it`, async (bench) => {
      const nobody = [exact(SanType.Dns, 'nobody.test')];
      const cases: readonly (readonly [string, Partial<TlsValidation>, Partial<TlsValidation>])[] = [
        ['client-stranger', { acceptUntrusted: true }, {}],
        ['client-stranger', { trustedCaPem: pem('stranger') + pem('root') }, {}],
        ['client-expired', { allowExpired: true }, {}],
        ['client-revoked', {}, { crlPem: pem('root.crl') }],
        ['client-revoked', {}, { crlPem: pem('root.crl'), verifyOnlyLeafCrl: true }],
        ['client-deep', {}, { maxVerifyDepth: 1 }],
        ['client', {}, { sanMatchers: nobody }],
        ['client', {}, { certificateHashes: ['00'.repeat(32)] }],
      ];
      for (const [name, before, after] of cases) {
        bench.server.current = serverSettings({ validation: validation(before) });
        bench.client.current = clientSettings({ parameters, certificate: certificate(name), maxSessionKeys: 4 });
        const { client, server } = await bench.pair();
        server.send('ticket');
        await client.gets(6);
        await nextTurn();
        client.transport.close();
        server.transport.close();
        bench.server.current = serverSettings({ validation: validation(after), requireClientCertificate: true });
        assert.match(await bench.refusedByServer(), /CERTIFICATE_VERIFY_FAILED/, `${name} came in by its session`);
      }
      // One that had nothing to show has a session too.
      bench.server.current = serverSettings({ validation: validation() });
      bench.client.current = clientSettings({ parameters, maxSessionKeys: 4 });
      const { client, server } = await bench.pair();
      server.send('ticket');
      await client.gets(6);
      await nextTurn();
      bench.server.current = serverSettings({ validation: validation(), requireClientCertificate: true });
      const late = bench.dial();
      const refused = await bench.accepted();
      await refused.hears('closed');
      assert.deepEqual(refused.events, ['closed']);
      for (const peer of [client, server, late]) peer.transport.close();
    });

    check(`${version}: a resumed session of a server is judged by what this connection asks`, async (bench) => {
      bench.client.current = clientSettings({ parameters, maxSessionKeys: 4 });
      const { client, server } = await bench.pair();
      server.send('ticket');
      await client.gets(6);
      await nextTurn();
      client.transport.close();
      server.transport.close();
      const wrong = { ...NO_SOCKET_OPTIONS, subjectAltNames: ['nobody.test'] };
      assert.match(await bench.refusedByClient(wrong), /verify SAN list/);
    });

    check(`${version}: a session of a client that was refused is of no use to it`, async (bench) => {
      bench.server.current = serverSettings({ validation: validation(), requireClientCertificate: true });
      bench.client.current = clientSettings({
        parameters,
        certificate: certificate('client-stranger'),
        maxSessionKeys: 4,
      });
      for (let i = 0; i < 3; i++) {
        assert.equal(await bench.refusedByServer(), `${X509}0: unable to get local issuer certificate:TLS_error_end`);
      }
      assert.equal(bench.serverCounts.counted.handshake, undefined);
      assert.equal(bench.serverCounts.counted.fail_verify_error, 3);
    });
  }

  check('one listener takes plain connections and TLS ones, in any order and at once', async (bench) => {
    const socket = bench.engine.serverSocket({ current: serverSettings() }, bench.serverCounts);
    const accepted = new AcceptedPeers();
    const plain: boolean[] = [];
    const listener = bench.sockets.listen(
      { ...PLAIN, address: ipAddress('127.0.0.1', 0) },
      {
        onAccept: (raw) => {
          const peer = new Peer(bench.dispatcher);
          peer.transport =
            plain.shift() === true ? raw : socket.accept(raw, {} as AcceptedSocket, new ByteBuffer(), false);
          peer.transport.setHandler(peer);
          bench.peers.push(peer);
          accepted.add(peer);
        },
      },
    );
    bench.listeners.push(listener);
    const client = bench.engine.clientSocket({ current: clientSettings() }, bench.clientCounts);
    const open = async (isPlain: boolean): Promise<{ client: Peer; server: Peer }> => {
      plain.push(isPlain);
      const peer = new Peer(bench.dispatcher);
      bench.peers.push(peer);
      const spec = connectTo(listener.address);
      peer.transport = isPlain
        ? bench.sockets.connect(spec, peer)
        : client.connect(bench.sockets, spec, { hostname: '' }, NO_SOCKET_OPTIONS, peer);
      await peer.hears('open');
      peer.send('hello');
      const server = await accepted.next();
      await server.gets(5);
      return { client: peer, server };
    };
    const answers = async ({ client: one, server }: { client: Peer; server: Peer }): Promise<void> => {
      const [there, back] = [server.received + 5, one.received + 6];
      one.send('again');
      await server.gets(there);
      server.send('answer');
      await one.gets(back);
      assert.equal(server.text, 'hello'.padEnd(server.received, 'again'));
    };
    const first = await open(false);
    await nextTurn();
    await answers(first);
    const second = await open(true);
    await answers(second);
    await answers(first);
    const third = await open(false);
    // The plain one is only half closed: what the other side still has to say arrives.
    second.client.transport.endWrites();
    await second.server.hears('end');
    second.server.send('last words');
    await second.client.gets(16);
    second.server.transport.close();
    await second.client.hears('closed');
    await nextTurn();
    await answers(third);
    await answers(first);
    await answers(await open(true));
    await answers(await open(false));
    listener.close();
    await answers(first);
  });

  check('protocols: none in common, none asked for', async (bench) => {
    bench.server.current = serverSettings({ alpnProtocols: ['h2'] });
    bench.client.current = clientSettings({ alpnProtocols: ['http/1.1'] });
    const first = await bench.pair();
    assert.equal(first.server.transport.security?.alpn, '');
    assert.equal(first.client.transport.security?.alpn, '');
    bench.client.current = clientSettings();
    const second = await bench.pair();
    assert.equal(second.server.transport.security?.alpn, '');
    bench.server.current = serverSettings();
    bench.client.current = clientSettings({ alpnProtocols: ['h2'] });
    const third = await bench.pair();
    assert.equal(third.server.transport.security?.alpn, '');
  });

  check('what a request asks of its connection goes before the settings', async (bench) => {
    bench.server.current = serverSettings({ alpnProtocols: ['a', 'b', 'c'] });
    bench.client.current = clientSettings({ alpnProtocols: ['b'], autoHostSni: true, sni: 'configured.test' });
    const plain = await bench.pair(NO_SOCKET_OPTIONS);
    assert.equal(plain.server.transport.security?.serverName, 'configured.test');
    assert.equal(plain.server.transport.security?.alpn, 'b');
    const byHost = await bench.pair(NO_SOCKET_OPTIONS, 'host.test');
    assert.equal(byHost.server.transport.security?.serverName, 'host.test');
    const options = { ...NO_SOCKET_OPTIONS, serverName: 'override.test', applicationProtocols: ['c'] };
    const overridden = await bench.pair(options, 'host.test');
    assert.equal(overridden.server.transport.security?.serverName, 'override.test');
    assert.equal(overridden.server.transport.security?.alpn, 'c');
    bench.client.current = clientSettings({ sni: '' });
    const fallback = await bench.pair({ ...NO_SOCKET_OPTIONS, applicationProtocolFallback: ['a'] });
    assert.equal(fallback.server.transport.security?.serverName, '');
    assert.equal(fallback.server.transport.security?.alpn, 'a');
  });

  check('the certificate is picked by server name and kind of key', async (bench) => {
    const names = ['other-rsa', 'other-ec', 'wild-ec', 'server-rsa', 'server-ec'];
    const shown = async (sni: string, parameters = PARAMETERS): Promise<string> => {
      bench.client.current = clientSettings({ sni, parameters, validation: null });
      const { client, server } = await bench.pair();
      assert.equal(client.transport.security?.peer?.sha256, server.transport.security?.local?.sha256);
      return client.transport.security!.peer!.subject.replace(/^CN=|,.*/g, '');
    };
    const rsaOnly = { ...PARAMETERS, maxVersion: 'TLSv1.2' as const, cipherSuites: 'ECDHE-RSA-AES128-GCM-SHA256' };
    bench.server.current = serverSettings({ certificates: names.map(certificate) });
    assert.equal(await shown('server.test'), 'server-ec');
    assert.equal(await shown('server.test', rsaOnly), 'server-rsa');
    assert.equal(await shown('other.test'), 'other-ec');
    assert.equal(await shown('a.wild.test'), 'wild-ec');
    assert.equal(await shown('a.b.wild.test'), 'other-rsa');
    assert.equal(await shown('unknown.test'), 'other-rsa');
    assert.equal(await shown(''), 'other-ec');
    assert.equal(await shown('', rsaOnly), 'other-rsa');
    // What would not be agreed upon does not count.
    const both = { ...rsaOnly, cipherSuites: 'ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256' };
    assert.equal(await shown('server.test', both), 'server-rsa');
    bench.server.current = serverSettings({ certificates: names.map(certificate), parameters: both });
    assert.equal(await shown('server.test', both), 'server-ec');
    const older = { ...PARAMETERS, maxVersion: 'TLSv1.2' as const };
    bench.server.current = serverSettings({ certificates: names.map(certificate), parameters: older });
    assert.equal(await shown('server.test', { ...rsaOnly, maxVersion: 'TLSv1.3' }), 'server-rsa');
    bench.server.current = serverSettings({ certificates: names.map(certificate), fullScanOnSniMismatch: true });
    assert.equal(await shown('unknown.test'), 'other-ec');
  });

  check('what is known of a handshake that failed', async (bench) => {
    const known = async (): Promise<readonly string[] | null> => {
      bench.dial();
      const server = await bench.accepted();
      await server.hears('closed');
      const { security } = server.transport;
      if (security === null) return null;
      return [security.protocolVersion, security.cipher, security.local?.subject ?? ''];
    };
    const expect = async (...facts: readonly string[]): Promise<void> => {
      assert.deepEqual(await known(), gaps.noBrokenHandshakes === true ? null : facts);
    };
    const local = 'CN=server-ec,O=Nuncio';
    const only = (version: 'TLSv1.2' | 'TLSv1.3') => ({ ...PARAMETERS, minVersion: version, maxVersion: version });
    bench.server.current = serverSettings({ validation: validation(), requireClientCertificate: true });
    bench.client.current = clientSettings({ parameters: only('TLSv1.3') });
    await expect('TLSv1.3', 'TLS_AES_128_GCM_SHA256', local);
    bench.client.current = clientSettings({ parameters: only('TLSv1.2') });
    await expect('TLSv1.2', 'ECDHE-ECDSA-AES128-GCM-SHA256', local);
    bench.server.current = serverSettings({ parameters: only('TLSv1.3') });
    await expect('TLSv1.2', '', local);
  });

  check('new settings are for new connections', async (bench) => {
    const first = await bench.pair();
    bench.server.current = serverSettings({ certificates: [certificate('server-rsa')] });
    const second = await bench.pair();
    assert.equal(first.client.transport.security?.peer?.subject, 'CN=server-ec,O=Nuncio');
    assert.equal(second.client.transport.security?.peer?.subject, 'CN=server-rsa,O=Nuncio');
    first.client.send('still here');
    await first.server.gets(10);
    bench.server.current = null;
    const third = bench.dial();
    const refused = await bench.accepted();
    await Promise.all([refused.hears('closed'), third.hears('closed')]);
    assert.equal(refused.error?.message, 'TLS error: Secret is not supplied by SDS');
    bench.client.current = null;
    const fourth = bench.dial();
    await fourth.hears('closed');
    assert.deepEqual(fourth.events, ['closed']);
    assert.equal(fourth.error?.message, 'TLS error: Secret is not supplied by SDS');
  });

  // --- judging clients ---

  for (const [client, words] of CLIENTS) {
    check(`a client's certificate: ${client}`, async (bench) => {
      bench.server.current = serverSettings({ validation: validation(), requireClientCertificate: true });
      bench.client.current = clientSettings({ certificate: certificate(client) });
      if (words === '') {
        const { server } = await bench.pair();
        assert.equal(server.transport.security?.peerCertificateValidated, true);
        return;
      }
      const said = await bench.refusedByServer();
      assert.ok(said.startsWith(gaps.otherWords === true ? X509 : words), said);
      assert.equal(bench.serverCounts.names, 'fail_verify_error');
      // Access logs tell who was refused.
      const { security } = bench.peers.at(-1)!.transport;
      assert.equal(security?.peer?.subject, `CN=${client},O=Nuncio`);
      assert.equal(security.peerCertificateValidated, false);
    });
  }

  check('a client without a certificate', async (bench) => {
    bench.server.current = serverSettings({ validation: validation() });
    const { server } = await bench.pair();
    assert.equal(server.transport.security?.peerCertificatePresented, false);
    assert.equal(server.transport.security?.peerCertificateValidated, false);
    assert.equal(server.transport.security?.peer, null);
    assert.equal(server.transport.security?.peerChainPem, '');
    assert.equal(bench.serverCounts.counted.no_certificate, 1);
    for (const parameters of [PARAMETERS, { ...PARAMETERS, maxVersion: 'TLSv1.2' as const }]) {
      bench.client.current = clientSettings({ parameters });
      bench.server.current = serverSettings({ validation: validation(), requireClientCertificate: true });
      assert.equal(
        await bench.refusedByServer(),
        'TLS_error:|268435648:SSL routines:OPENSSL_internal:PEER_DID_NOT_RETURN_A_CERTIFICATE:peer did not provide required client certificate:TLS_error_end',
      );
    }
    assert.equal(bench.serverCounts.counted.fail_verify_no_cert, 2);
  });

  check('a certificate that nobody asked for is not judged', async (bench) => {
    bench.client.current = clientSettings({ certificate: certificate('client-stranger') });
    const { server } = await bench.pair();
    assert.equal(server.transport.security?.peerCertificatePresented, false);
  });

  check('untrusted certificates that are to be accepted are told, not believed', async (bench) => {
    bench.server.current = serverSettings({ validation: validation({ acceptUntrusted: true }) });
    for (const [client, validated] of [
      ['client', true],
      ['client-stranger', false],
    ] as const) {
      bench.client.current = clientSettings({ certificate: certificate(client) });
      const { server } = await bench.pair();
      assert.equal(server.transport.security?.peerCertificatePresented, true);
      assert.equal(server.transport.security?.peerCertificateValidated, validated);
    }
  });

  check('expired certificates that are allowed must be trusted none the less', async (bench) => {
    const allowed = validation({ allowExpired: true });
    bench.server.current = serverSettings({ validation: allowed, requireClientCertificate: true });
    for (const client of ['client', 'client-expired', 'client-early', 'client-inter']) {
      bench.client.current = clientSettings({ certificate: certificate(client) });
      const { server } = await bench.pair();
      assert.equal(server.transport.security?.peerCertificateValidated, true);
    }
    bench.client.current = clientSettings({ certificate: certificate('client-expired-stranger') });
    assert.equal(await bench.refusedByServer(), `${X509}0: unable to get local issuer certificate:TLS_error_end`);
  });

  check('names of clients', async (bench) => {
    bench.client.current = clientSettings({ certificate: certificate('client') });
    const wanted: readonly (readonly [SanMatcher[], boolean])[] = [
      [[exact(SanType.Uri, 'spiffe://nuncio/client')], true],
      [[exact(SanType.Dns, 'nobody.test'), exact(SanType.Email, 'client@nuncio.test')], true],
      [[exact(SanType.IpAddress, '10.0.0.1')], true],
      [[exact(SanType.OtherName, 'upn@nuncio', '1.3.6.1.4.1.311.20.2.3')], true],
      [[exact(SanType.OtherName, 'upn@nuncio', '1.2.3')], false],
      [[exact(SanType.Dns, 'spiffe://nuncio/client')], false],
      [[exact(SanType.Dns, 'nobody.test')], false],
    ];
    for (const [sanMatchers, fits] of wanted) {
      bench.server.current = serverSettings({ validation: validation({ sanMatchers }) });
      if (fits) {
        await bench.pair();
        continue;
      }
      const said = await bench.refusedByServer();
      assert.equal(
        said,
        `${VERIFY_FAILED}SAN matcher, certificate SANs are [client.test, spiffe://nuncio/client, client@nuncio.test, 10.0.0.1, upn@nuncio]:TLS_error_end`,
      );
    }
    assert.equal(bench.serverCounts.counted.fail_verify_san, 3);
    // Names that are right do not make up for a chain that is not, and a certificate is needed to have names.
    bench.server.current = serverSettings({
      validation: validation({ sanMatchers: [exact(SanType.Uri, 'spiffe://nuncio/client')] }),
    });
    bench.client.current = clientSettings({ certificate: certificate('client-stranger') });
    assert.ok((await bench.refusedByServer()).startsWith(X509));
    bench.client.current = clientSettings();
    assert.match(await bench.refusedByServer(), /PEER_DID_NOT_RETURN_A_CERTIFICATE/);
  });

  check('pinned certificates and keys, with and without a CA', async (bench) => {
    const { sha256, spkiSha256 } = leafOf('client');
    const wrong = 'ab'.repeat(32);
    for (const trustedCaPem of ['', pem('root')]) {
      for (const [hashes, keys, fits] of [
        [[wrong, sha256], [], true],
        [[], [spkiSha256], true],
        [[wrong], [spkiSha256], true],
        [[wrong], [], false],
        [[wrong], [leafOf('client-rsa').spkiSha256], false],
      ] as const) {
        const pins = validation({ trustedCaPem, certificateHashes: hashes, spkiHashes: keys });
        bench.server.current = serverSettings({ validation: pins });
        bench.client.current = clientSettings({ certificate: certificate('client') });
        if (fits) {
          const { server } = await bench.pair();
          assert.equal(server.transport.security?.peerCertificateValidated, true);
        } else {
          assert.equal(await bench.refusedByServer(), `${VERIFY_FAILED}cert hash and spki:TLS_error_end`);
        }
      }
    }
    bench.client.current = clientSettings();
    assert.match(await bench.refusedByServer(), /PEER_DID_NOT_RETURN_A_CERTIFICATE/);
  });

  check('the length of paths', async (bench) => {
    for (const [client, depth, failsAt] of [
      ['client', 0, -1],
      ['client-inter', 0, 1],
      ['client-inter', 1, 1],
      ['client-inter', 2, -1],
      ['client-deep', 2, 2],
      ['client-deep', 3, -1],
    ] as const) {
      const limited = validation({ maxVerifyDepth: depth });
      bench.server.current = serverSettings({ validation: limited, requireClientCertificate: true });
      bench.client.current = clientSettings({ certificate: certificate(client) });
      if (failsAt < 0) await bench.pair();
      else
        assert.equal(
          await bench.refusedByServer(),
          `${X509}${failsAt}: unable to get local issuer certificate:TLS_error_end`,
        );
    }
  });

  check('an authority in the middle may be trusted alone', async (bench) => {
    const anchored = validation({ trustedCaPem: pem('inter') });
    bench.server.current = serverSettings({ validation: anchored, requireClientCertificate: true });
    for (const client of ['client-inter', 'client-deep']) {
      bench.client.current = clientSettings({ certificate: certificate(client) });
      const { server } = await bench.pair();
      assert.equal(server.transport.security?.peerCertificateValidated, true);
    }
    bench.client.current = clientSettings({ certificate: certificate('client') });
    assert.ok((await bench.refusedByServer()).startsWith(X509));
  });

  check('all authorities of a bundle are trusted', async (bench) => {
    for (const trustedCaPem of [pem('stranger') + pem('root'), pem('root') + pem('stranger')]) {
      bench.server.current = serverSettings({
        validation: validation({ trustedCaPem }),
        requireClientCertificate: true,
      });
      for (const client of ['client', 'client-stranger']) {
        bench.client.current = clientSettings({ certificate: certificate(client) });
        await bench.pair();
      }
    }
  });

  check('revoked certificates', async (bench) => {
    const lists = validation({ crlPem: pem('root.crl') });
    bench.server.current = serverSettings({ validation: lists, requireClientCertificate: true });
    bench.client.current = clientSettings({ certificate: certificate('client') });
    await bench.pair();
    bench.client.current = clientSettings({ certificate: certificate('client-revoked') });
    assert.equal(await bench.refusedByServer(), `${X509}0: ${LISTS}certificate revoked:TLS_error_end`);
    // Every authority's list is wanted.
    bench.client.current = clientSettings({ certificate: certificate('client-inter') });
    assert.equal(await bench.refusedByServer(), `${X509}0: ${LISTS}unable to get certificate CRL:TLS_error_end`);
    const all = validation({ crlPem: pem('root.crl') + pem('inter.crl') });
    bench.server.current = serverSettings({ validation: all, requireClientCertificate: true });
    await bench.pair();
  });

  check('revoked certificates, looked for by ourselves', async (bench) => {
    for (const [lists, change, client, words] of [
      ['inter', { verifyOnlyLeafCrl: true }, 'client-inter', ''],
      ['inter', { verifyOnlyLeafCrl: true }, 'client', 'unable to get certificate CRL'],
      ['root', { verifyOnlyLeafCrl: true }, 'client', ''],
      ['root', { verifyOnlyLeafCrl: true }, 'client-revoked', 'certificate revoked'],
      ['root', { allowExpired: true }, 'client-expired', ''],
      ['root', { allowExpired: true }, 'client-revoked', 'certificate revoked'],
      ['root', { allowExpired: true }, 'client-inter', 'unable to get certificate CRL'],
    ] as const) {
      const checked = validation({ crlPem: pem(`${lists}.crl`), ...change });
      bench.server.current = serverSettings({ validation: checked, requireClientCertificate: true });
      bench.client.current = clientSettings({ certificate: certificate(client) });
      if (words === '') await bench.pair();
      else assert.equal(await bench.refusedByServer(), `${X509}0: ${LISTS}${words}:TLS_error_end`);
    }
  });

  check('a certificate that is required but could not be checked is not asked for', async (bench) => {
    // As Envoy, which needs a CA to ask for certificates.
    bench.server.current = serverSettings({ requireClientCertificate: true });
    const { server } = await bench.pair();
    assert.equal(server.transport.security?.peerCertificatePresented, false);
  });

  // --- judging servers ---

  check('a server is trusted for its chain, whatever its name, unless names are wanted', async (bench) => {
    for (const [server, words] of [
      ['server-ec', ''],
      ['server-rsa', ''],
      ['server-inter', ''],
      ['other-ec', ''],
      ['server-stranger', `${X509}0: unable to get local issuer certificate`],
      ['server-expired', `${X509}0: certificate has expired`],
      ['server-clientonly', `${X509}0: unsupported certificate purpose`],
    ] as const) {
      for (const sni of ['server.test', 'nobody.test', '']) {
        bench.server.current = serverSettings({ certificates: [certificate(server)] });
        bench.client.current = clientSettings({ sni });
        if (words === '') {
          const { client } = await bench.pair();
          assert.equal(client.transport.security?.peerCertificateValidated, true);
        } else {
          assert.equal(await bench.refusedByClient(), `${words}:TLS_error_end`);
        }
      }
    }
  });

  check('a client that checks nothing believes nothing', async (bench) => {
    bench.server.current = serverSettings({ certificates: [certificate('server-stranger')] });
    bench.client.current = clientSettings({ validation: null });
    const { client } = await bench.pair();
    assert.equal(client.transport.security?.peerCertificatePresented, true);
    assert.equal(client.transport.security?.peerCertificateValidated, false);
  });

  check('names of servers: matchers, overrides, the server name itself', async (bench) => {
    bench.client.current = clientSettings({
      validation: validation({ sanMatchers: [exact(SanType.Dns, 'nobody.test')] }),
    });
    assert.match(
      await bench.refusedByClient(),
      /verify cert failed: SAN matcher, certificate SANs are \[server\.test, /,
    );
    const overridden = { ...NO_SOCKET_OPTIONS, subjectAltNames: ['nobody.test', 'a.wild.test'] };
    // As Envoy: both are checked.
    assert.match(await bench.refusedByClient(overridden), /SAN matcher/);
    bench.client.current = clientSettings({ autoSniSanValidation: true, sni: 'unknown.test' });
    await bench.pair(overridden);
    const wrong = { ...NO_SOCKET_OPTIONS, subjectAltNames: ['nobody.test', 'a.b.wild.test'] };
    assert.equal(
      await bench.refusedByClient(wrong),
      `${VERIFY_FAILED}verify SAN list, expected SANs: [nobody.test, a.b.wild.test], certificate SANs: [server.test, *.wild.test, spiffe://nuncio/server, 127.0.0.1]:TLS_error_end`,
    );
    for (const [sni, fits] of [
      ['server.test', true],
      ['x.wild.test', true],
      ['nobody.test', false],
    ] as const) {
      bench.client.current = clientSettings({ sni, autoSniSanValidation: true });
      if (fits) await bench.pair();
      else assert.match(await bench.refusedByClient(), /SAN matcher/);
    }
    // Names alone prove nothing.
    bench.client.current = clientSettings({ validation: null });
    assert.match(await bench.refusedByClient(overridden), /unable to get local issuer certificate/);
  });

  // --- bytes and ends ---

  check('a hello that comes byte by byte', async (bench) => {
    const { client, server } = await throughProxy(bench, 1);
    client.send('hello');
    await server.gets(5);
    server.send('world');
    await client.gets(5);
  });

  for (const [name, bytes] of [
    ['plain HTTP', Buffer.from('GET / HTTP/1.1\r\nhost: a\r\n\r\n')],
    ['64 KiB of noise', Buffer.alloc(65536, 'x')],
    ['64 KiB of a hello that is none', Buffer.concat(Array.from({ length: 4 }, () => record(Buffer.alloc(16384, 1))))],
    ['a hello cut into empty records', Buffer.concat(Array.from({ length: 64 }, () => record(Buffer.alloc(0))))],
  ] as const) {
    check(`instead of a hello: ${name}`, async (bench) => {
      const client = bench.raw();
      await client.hears('open');
      client.transport.write(bytes, 0, bytes.length);
      const server = await bench.accepted();
      await server.hears('closed');
      assert.deepEqual(server.events, ['closed']);
      assert.equal(server.error?.code, 'TLS');
      if (gaps.otherWords !== true) {
        assert.match(
          server.error?.message ?? '',
          /^TLS_error:\|\d+:SSL routines:OPENSSL_internal:[A-Z_0-9]+:TLS_error_end$/,
        );
      }
      assert.equal(bench.serverCounts.names, 'connection_error');
      await client.until(() => client.events.includes('end') || client.events.includes('closed'), 'not told');
    });
  }

  check('a peer that leaves in the middle of its hello, or before it', async (bench) => {
    for (const bytes of [Buffer.alloc(0), record(Buffer.alloc(100, 1)).subarray(0, 50)]) {
      const client = bench.raw();
      await client.hears('open');
      client.transport.write(bytes, 0, bytes.length);
      client.transport.endWrites();
      const server = await bench.accepted();
      await server.hears('closed');
      assert.deepEqual(server.events, ['closed']);
      assert.equal(server.error?.message, '');
    }
    assert.equal(bench.serverCounts.names, '');
  });

  check('a client that goes behind its hello', async (bench) => {
    for (const how of ['endWrites', 'reset'] as const) {
      const upstream = bench.raw();
      await upstream.hears('open');
      const between = bench.sockets.listen(
        { ...PLAIN, address: ipAddress('127.0.0.1', 0) },
        {
          onAccept: (inner) =>
            inner.setHandler({
              onOpen() {},
              onBytes: (bytes) => {
                upstream.transport.write(bytes, 0, bytes.length);
                // Once the server has answered, it is in its handshake.
                upstream.onData = () => upstream.transport[how]();
              },
              onDrain() {},
              onPeerEnd() {},
              onClosed() {},
            }),
        },
      );
      bench.listeners.push(between);
      bench.wrap(
        bench.sockets.connect(connectTo(between.address), new Peer(bench.dispatcher)),
        new Peer(bench.dispatcher),
      );
      const server = await bench.accepted();
      await server.hears('closed');
      assert.deepEqual(server.events, ['closed']);
      if (gaps.otherWords !== true) assert.equal(server.error?.message, how === 'reset' ? RESET_FAILURE : '');
    }
    assert.equal(bench.serverCounts.names, '');
  });

  check('a server that goes in the middle of its handshake is never taken for one that finished it', async (bench) => {
    // Wrong in name and chain, so that there is something to report besides.
    bench.server.current = serverSettings({ certificates: [certificate('server-stranger')] });
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const parameters = { ...PARAMETERS, minVersion: version, maxVersion: version };
      for (const trusted of [null, validation()]) {
        bench.client.current = clientSettings({
          parameters,
          validation: trusted,
          sni: 'nobody.test',
          maxSessionKeys: 0,
        });
        for (let limit = 0; limit < 800; limit += 97) {
          for (const how of ['close', 'reset'] as const) {
            const upstream = bench.raw();
            await upstream.hears('open');
            const between = bench.sockets.listen(
              { ...PLAIN, address: ipAddress('127.0.0.1', 0) },
              { onAccept: (inner) => cutAfter(inner, upstream, limit, how) },
            );
            bench.listeners.push(between);
            const client = new Peer(bench.dispatcher);
            bench.wrap(bench.sockets.connect(connectTo(between.address), new Peer(bench.dispatcher)), client);
            await client.hears('closed');
            assert.deepEqual(client.events, ['closed'], `${version} ${limit} ${how}`);
            assert.notEqual(client.error, null);
            upstream.transport.reset();
            between.close();
          }
        }
      }
    }
  });

  check('a handshake that stalls is closed by its owner', async (bench) => {
    for (const how of ['close', 'reset'] as const) {
      for (const bytes of [Buffer.alloc(0), record(Buffer.alloc(100, 1)).subarray(0, 50)]) {
        const client = bench.raw();
        await client.hears('open');
        client.transport.write(bytes, 0, bytes.length);
        const server = await bench.accepted();
        await nextTurn();
        server.transport[how]();
        assert.deepEqual(server.events, []);
        await server.hears('closed');
        assert.deepEqual(server.events, ['closed']);
        assert.equal(server.error, null);
        await client.until(() => client.events.includes('end') || client.events.includes('closed'), 'not told');
      }
    }
  });

  check('writes and pauses before the handshake is done', async (bench) => {
    const client = bench.dial();
    const server = await bench.accepted();
    const bytes = Buffer.from('early');
    assert.equal(server.transport.write(bytes, 0, 5), 0);
    assert.equal(client.transport.write(bytes, 0, 5), 0);
    server.transport.pause();
    server.transport.setNoDelay(true);
    server.transport.setKeepAlive(true, 30);
    await Promise.all([server.hears('drain'), client.hears('drain')]);
    assert.deepEqual(client.events, ['open', 'drain']);
    client.send('early');
    await new Promise((resolve) => setTimeout(resolve, 30));
    assert.equal(server.received, 0, 'a paused reader got bytes');
    server.transport.resume();
    await server.gets(5);
  });

  check('large transfers both ways at once', async (bench) => {
    const { client, server } = await bench.pair();
    const size = 8 * 1024 * 1024;
    const block = Buffer.alloc(size);
    for (let i = 0; i < size; i += 4) block.writeUInt32LE((i * 2654435761) >>> 0, i);
    const pump = async (peer: Peer) => {
      for (let at = 0; at < size; ) {
        const drains = peer.events.filter((event) => event === 'drain').length;
        const taken = peer.transport.write(block, at, Math.min(at + 300_000, size));
        assert.ok(taken >= 0);
        at += taken;
        if (at < size && taken < 300_000) {
          await peer.until(() => peer.events.filter((event) => event === 'drain').length > drains, 'no drain');
        }
      }
      peer.transport.endWrites();
    };
    await Promise.all([pump(client), pump(server), client.hears('closed'), server.hears('closed')]);
    for (const peer of [client, server]) {
      assert.equal(peer.error, null);
      assert.ok(Buffer.concat(peer.chunks).equals(block));
    }
  });

  check('what was taken is sent before the end, however slow the reader', async (bench) => {
    const { client, server } = await bench.pair();
    client.transport.pause();
    const block = Buffer.alloc(256 * 1024, 'x');
    let taken = 0;
    for (let count = block.length; count === block.length; taken += count) {
      count = server.transport.write(block, 0, block.length);
    }
    server.transport.endWrites();
    await new Promise((resolve) => setTimeout(resolve, 30));
    client.transport.resume();
    await client.hears('end');
    assert.equal(client.received, taken);
  });

  check('who closes says so: the end can be told from a cut', async (bench) => {
    bench.server.current = serverSettings({ parameters: { ...PARAMETERS, maxVersion: 'TLSv1.2' } });
    for (const side of ['server', 'client'] as const) {
      for (const first of ['close', 'endWrites'] as const) {
        const between = await throughProxy(bench, 65536);
        between[side].send('last words');
        between[side].transport[first]();
        between[side].transport.close();
        await between.hasEnded(side);
        const types = recordTypes(between.said(side));
        assert.deepEqual(types.slice(-2), [23, 21], `${side}, ${first}: no alert behind the data`);
        assert.equal(types.filter((type) => type === 21).length, 1, `${side}, ${first}: more than one alert`);
      }
    }
  });

  check('the end of the connection without the end of the session', async (bench) => {
    const { client, server, cut } = await throughProxy(bench, 65536);
    client.send('whole');
    await server.gets(5);
    cut();
    // As Envoy: it counts as the peer's end.
    await server.hears('end');
    assert.equal(server.text, 'whole');
    server.transport.close();
    await server.hears('closed');
    assert.equal(server.error, null);
  });

  check('a record that was tampered with ends the session', async (bench) => {
    const { client, server, tamper } = await throughProxy(bench, 65536);
    tamper();
    client.send('changed on its way');
    await server.hears('closed');
    assert.equal(server.received, 0);
    assert.equal(server.error?.code, 'TLS');
    if (gaps.otherWords !== true) {
      assert.equal(
        server.error?.message,
        'TLS_error:|503316581:Cipher functions:OPENSSL_internal:BAD_DECRYPT|268435595:SSL routines:OPENSSL_internal:DECRYPTION_FAILED_OR_BAD_RECORD_MAC:TLS_error_end|268435650:SSL routines:OPENSSL_internal:PROTOCOL_IS_SHUTDOWN:TLS_error_end',
      );
      assert.equal(bench.serverCounts.counted.connection_error, 2);
    }
  });

  check('over a connection that there is', async (bench) => {
    const raw = bench.raw();
    await raw.hears('open');
    const client = new Peer(bench.dispatcher);
    bench.wrap(raw.transport, client);
    assert.deepEqual(client.events, []);
    const server = await bench.accepted();
    await Promise.all([client.hears('open'), server.hears('open')]);
    client.send('hello');
    await server.gets(5);
    assert.deepEqual(raw.events, ['open']);
  });

  check('keys are logged for whom it is wanted', async (bench) => {
    const lines: string[] = [];
    const log = (wanted: boolean) => ({
      wants: (local: Address, remote: Address) => {
        assert.match(`${local.text} ${remote.text}`, /^127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+$/);
        return wanted;
      },
      write: (line: string) => void lines.push(line),
    });
    bench.server.current = serverSettings({ keyLog: log(false) });
    await bench.pair();
    assert.deepEqual(lines, []);
    for (const side of ['server', 'client'] as const) {
      bench.server.current = serverSettings(side === 'server' ? { keyLog: log(true) } : {});
      bench.client.current = clientSettings(side === 'client' ? { keyLog: log(true) } : {});
      await bench.pair();
      assert.ok(
        lines.some((line) => /^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{64,96}$/.test(line)),
        lines.join(),
      );
      lines.length = 0;
    }
  });
}

function record(body: Buffer): Buffer {
  return Buffer.concat([Buffer.of(22, 3, 1, body.length >> 8, body.length & 255), body]);
}

/** Types of the TLS records in these bytes. */
function recordTypes(bytes: Buffer): number[] {
  const types: number[] = [];
  for (let at = 0; at + 5 <= bytes.length; at += 5 + bytes.readUInt16BE(at + 3)) types.push(bytes[at]!);
  return types;
}

/**
 * Client and server with somebody in between, who passes on what the client sends in pieces of `size`.
 * `cut`: ends towards the server; `tamper`: changes a bit of whatever comes next.
 */
async function throughProxy(bench: Bench, size: number) {
  let tampering = false;
  const said = { server: [] as Buffer[], client: [] as Buffer[] };
  let clientEnded = (): void => {};
  const clientEnd = new Promise<void>((resolve) => {
    clientEnded = resolve;
  });
  const upstream = bench.raw();
  await upstream.hears('open');
  const between = bench.sockets.listen(
    { ...PLAIN, address: ipAddress('127.0.0.1', 0) },
    {
      onAccept: (inner) => {
        upstream.onData = () => {
          for (const chunk of upstream.chunks.splice(0)) {
            said.server.push(chunk);
            inner.write(chunk, 0, chunk.length);
          }
        };
        inner.setHandler({
          onOpen() {},
          onBytes: (bytes) => {
            said.client.push(Buffer.from(bytes));
            if (tampering) bytes[bytes.length - 1]! ^= 1;
            void passOn(upstream.transport, bytes, size);
          },
          onDrain() {},
          onPeerEnd: clientEnded,
          onClosed: clientEnded,
        });
      },
    },
  );
  bench.listeners.push(between);
  const raw = bench.sockets.connect(connectTo(between.address), new Peer(bench.dispatcher));
  const client = new Peer(bench.dispatcher);
  bench.wrap(raw, client);
  const server = await bench.accepted();
  await Promise.all([client.hears('open'), server.hears('open')]);
  return {
    client,
    server,
    said: (side: 'server' | 'client') => Buffer.concat(said[side]),
    hasEnded: (side: 'server' | 'client') =>
      side === 'client'
        ? clientEnd
        : upstream.until(() => upstream.events.includes('end') || upstream.events.includes('closed'), 'no end'),
    cut: () => upstream.transport.endWrites(),
    tamper: () => {
      tampering = true;
    },
  };
}

/** Passes on what the server says up to a limit, then ends. */
function cutAfter(inner: Transport, upstream: Peer, limit: number, how: 'close' | 'reset'): void {
  let left = limit;
  upstream.onData = () => {
    for (const chunk of upstream.chunks.splice(0)) {
      if (left < 0) continue;
      inner.write(chunk, 0, Math.min(left, chunk.length));
      left -= chunk.length;
      if (left < 0) setImmediate(() => inner[how]());
    }
  };
  inner.setHandler({
    onOpen() {},
    onBytes: (bytes) => void upstream.transport.write(bytes, 0, bytes.length),
    onDrain() {},
    onPeerEnd() {},
    onClosed() {},
  });
}

async function passOn(to: Transport, bytes: Buffer, size: number): Promise<void> {
  for (let at = 0; at < bytes.length; at += size) {
    to.write(bytes, at, Math.min(at + size, bytes.length));
    if (size === 1 && at < 1000) await new Promise((resolve) => setImmediate(resolve));
  }
}
