/**
 * Cases where Nuncio is known to differ from Envoy, by their full name ("suite: case"), each with its reason. The list
 * may only shrink: a case that stands here and does not differ any more fails, and so does a name that no case has.
 */
export const knownDifferences: Readonly<Record<string, string>> = {};
