/** `npm start [-- arguments]`: Nuncio from its sources, on the hello example unless told otherwise. */
if (process.argv.length === 2) process.argv.push('-c', 'examples/hello/envoy.yaml');
await import('../src/cli/main.ts');

export {};
