/** Whether a comma-separated list holds `token`, whatever the case (RFC 9110 section 5.6.1). `token` is lower case. */
export function hasToken(list: string, token: string): boolean {
  if (list === token) return true;
  if (list.length < token.length) return false;
  // What nearly always stands there, when it is not asked for.
  if (list === 'keep-alive') return false;
  // One item: splitting would make an array of it.
  if (!list.includes(',')) return list.trim().toLowerCase() === token;
  for (const item of list.split(',')) if (item.trim().toLowerCase() === token) return true;
  return false;
}
