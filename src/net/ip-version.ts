const IPV4 = /^(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}$/;
const IPV6_LETTERS = /^[0-9a-fA-F:.]+$/;

/** 4 or 6 when `text` is an IP address (no brackets, port or zone), else 0. */
export function ipVersion(text: string): 0 | 4 | 6 {
  if (IPV4.test(text)) return 4;
  return text.includes(':') && IPV6_LETTERS.test(text) && URL.canParse(`http://[${text}]/`) ? 6 : 0;
}
