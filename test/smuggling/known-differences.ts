/**
 * Cases where Nuncio is known to answer or to forward otherwise than Envoy, by name, each with its reason. Nothing here excuses a
 * request that the next hop reads differently. The list may only shrink: a case that stands here and does not differ fails.
 */
export const knownDifferences: Readonly<Record<string, string>> = {};

/**
 * Cases where Envoy itself forwards what the next hop reads differently; Nuncio need not (and does not). Kept so that the reader's
 * judgement is tested on something, and so that a change of Envoy's is noticed.
 */
export const envoyHazards: Readonly<Record<string, string>> = {};
