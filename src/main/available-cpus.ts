import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

/** CPUs that the control group allows, from its quota; infinite without one. Version 2, then version 1. */
function cgroupLimit(): number {
  const own = /^0::(.*)$/m.exec(read('/proc/self/cgroup'))?.[1] ?? '/';
  for (const path of [`/sys/fs/cgroup${own === '/' ? '' : own}/cpu.max`, '/sys/fs/cgroup/cpu.max']) {
    const [quota, period] = read(path).split(' ');
    if (quota !== undefined && Number(quota) > 0 && Number(period) > 0) return Number(quota) / Number(period);
  }
  const quota = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_quota_us'));
  const period = Number(read('/sys/fs/cgroup/cpu/cpu.cfs_period_us'));
  return quota > 0 && period > 0 ? quota / period : Number.POSITIVE_INFINITY;
}

/**
 * Workers to start when `--concurrency` is not given: hardware threads that this process may run on, at most the whole
 * CPUs of its control group's quota. Envoy's `ENVOY_CGROUP_CPU_DETECTION=false` switches the latter off.
 */
export function defaultConcurrency(): number {
  const threads = availableParallelism();
  if (process.env.ENVOY_CGROUP_CPU_DETECTION === 'false') return threads;
  return Math.max(1, Math.min(threads, Math.floor(cgroupLimit())));
}
