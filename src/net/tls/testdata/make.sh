#!/bin/sh
# Makes the certificates that the TLS tests use. They are checked in: run this again only to change them.
set -e
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
key() { [ "$2" = rsa ] && openssl genrsa -out "$1.key" 2048 2>/dev/null || openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }
# root NAME
root() {
  key "$1" ec
  sign "$1" "$1" "$INTER" 20250101000000Z 21250101000000Z -selfsign
}
# leaf NAME ISSUER KEYTYPE EXTENSIONS [START END]
leaf() { key "$1" "$3"; sign "$1" "$2" "$4" "${5:-20250101000000Z}" "${6:-21250101000000Z}" -cert "$2.pem"; }
# sign NAME ISSUER EXTENSIONS START END OPTION...
sign() {
  openssl req -new -key "$1.key" -subj "/O=Nuncio/CN=$1" -out "$work/$1.csr"
  printf '[x]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n%b\n' "$3" >"$work/$1.ext"
  mkdir -p "$work/$2"; touch "$work/$2/index"; [ -f "$work/$2/serial" ] || echo "10$(openssl rand -hex 4)" >"$work/$2/serial"
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nserial=%s\nnew_certs_dir=%s\ndefault_md=sha256\npolicy=p\nunique_subject=no\ncrlnumber=%s\ndefault_crl_days=36500\n[p]\nO=optional\nCN=supplied\n' \
    "$work/$2/index" "$work/$2/serial" "$work/$2" "$work/$2/crlnumber" >"$work/$2/conf"
  [ -f "$work/$2/crlnumber" ] || echo 01 >"$work/$2/crlnumber"
  openssl ca -batch -notext -config "$work/$2/conf" -keyfile "$2.key" -in "$work/$1.csr" -out "$1.pem" \
    -extfile "$work/$1.ext" -extensions x -startdate "$4" -enddate "$5" "$6" $7 2>/dev/null
}
BOTH='extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=critical,digitalSignature,keyEncipherment\nbasicConstraints=CA:FALSE\n'
INTER='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n'
root root
root stranger
CLIENT='extendedKeyUsage=clientAuth\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n'
leaf inter root ec "$INTER"
leaf inter2 inter ec "$INTER"
SERVER='subjectAltName=DNS:server.test,DNS:*.wild.test,URI:spiffe://nuncio/server,IP:127.0.0.1'
leaf server-ec root ec "${BOTH}$SERVER"
leaf server-rsa root rsa "${BOTH}$SERVER"
leaf other-ec root ec "${BOTH}subjectAltName=DNS:other.test"
leaf other-rsa root rsa "${BOTH}subjectAltName=DNS:other.test"
leaf wild-ec root ec "${BOTH}subjectAltName=DNS:*.wild.test"
leaf server-inter inter ec "${BOTH}$SERVER"
leaf server-stranger stranger ec "${BOTH}$SERVER"
leaf server-expired root ec "${BOTH}$SERVER" 20200101000000Z 20210101000000Z
leaf server-clientonly root ec "${CLIENT}$SERVER"
leaf server-sign-rsa root rsa "extendedKeyUsage=serverAuth\nkeyUsage=critical,keyEncipherment\nbasicConstraints=CA:FALSE\n$SERVER"
NAMES='subjectAltName=DNS:client.test,URI:spiffe://nuncio/client,email:client@nuncio.test,IP:10.0.0.1,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:upn@nuncio'
leaf client root ec "$CLIENT$NAMES"
leaf client-rsa root rsa "$CLIENT$NAMES"
leaf client-inter inter ec "$CLIENT$NAMES"
leaf client-deep inter2 ec "$CLIENT$NAMES"
leaf client-revoked root ec "$CLIENT$NAMES"
leaf client-stranger stranger ec "$CLIENT$NAMES"
leaf client-expired root ec "$CLIENT$NAMES" 20200101000000Z 20210101000000Z
leaf client-early root ec "$CLIENT$NAMES" 21000101000000Z 21250101000000Z
leaf client-expired-stranger stranger ec "$CLIENT$NAMES" 20200101000000Z 20210101000000Z
leaf client-serveronly root ec "extendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\nbasicConstraints=CA:FALSE\n$NAMES"
leaf client-nosign root ec "extendedKeyUsage=clientAuth\nkeyUsage=critical,keyAgreement\nbasicConstraints=CA:FALSE\n$NAMES"
leaf client-bare root ec "basicConstraints=CA:FALSE\n"
leaf client-by-leaf client ec "$CLIENT$NAMES"
openssl ca -config "$work/root/conf" -cert root.pem -keyfile root.key -revoke client-revoked.pem 2>/dev/null
openssl ca -config "$work/root/conf" -cert root.pem -keyfile root.key -gencrl -crl_lastupdate 20250101000000Z -crl_nextupdate 21250101000000Z -out root.crl.pem 2>/dev/null
openssl ca -config "$work/inter/conf" -cert inter.pem -keyfile inter.key -gencrl -crl_lastupdate 20250101000000Z -crl_nextupdate 21250101000000Z -out inter.crl.pem 2>/dev/null
for name in server-inter client-inter; do cat $name.pem inter.pem >"$work/c" && cp "$work/c" $name.pem; done
cat client-deep.pem inter2.pem inter.pem >"$work/c" && cp "$work/c" client-deep.pem
cat client-by-leaf.pem client.pem >"$work/c" && cp "$work/c" client-by-leaf.pem
rm -f inter2.key
