import { type AdminEndpoint, choice, command, query, text } from '../admin-request.ts';

const USAGE = '?enable=<y|n>\n';
const NOT_IMPLEMENTED = 501;

/** Endpoints of the C++ build's profilers: here they say that there is none. */
export function profilerEndpoints(): AdminEndpoint[] {
  const profiler = (path: string, help: string, parameterHelp: string, what: string): AdminEndpoint =>
    command(path, help, [choice('enable', parameterHelp, ['y', 'n'])], (request) => {
      const enable = request.query.get('enable');
      if (request.query.size !== 1 || (enable !== 'y' && enable !== 'n')) return text(USAGE, 400);
      return text(`The current build does not support ${what}\n`, NOT_IMPLEMENTED);
    });
  const dump = (path: string, help: string): AdminEndpoint =>
    query(path, help, [], () => text('The current build does not support heap dump\n', NOT_IMPLEMENTED));
  return [
    profiler(
      '/allocprofiler',
      'enable/disable the allocation profiler (if supported)',
      'enable/disable the allocation profiler',
      'allocation profiler',
    ),
    profiler('/cpuprofiler', 'enable/disable the CPU profiler', 'enables the CPU profiler', 'cpu profiler'),
    // Envoy's build without it says so whatever is asked.
    command(
      '/heapprofiler',
      'enable/disable the heap profiler',
      [choice('enable', 'enable/disable the heap profiler', ['y', 'n'])],
      () => text('The current build does not support heap profiler\n', NOT_IMPLEMENTED),
    ),
    dump('/heap_dump', 'dump current Envoy heap (if supported)'),
    dump('/peak_heap_dump', 'dump peak Envoy heap (if supported)'),
    query('/memory/tcmalloc', 'print TCMalloc stats', [], () =>
      text('The current build does not use TCMalloc: see /memory\n', NOT_IMPLEMENTED),
    ),
    query('/contention', 'dump current Envoy mutex contention stats (if enabled)', [], () =>
      text('Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing.'),
    ),
  ];
}
