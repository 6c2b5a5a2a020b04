/** For the command line, which begins before anything else is loaded. */
export { beginStartUp, endStartUp } from '../base/jit-policy.ts';
