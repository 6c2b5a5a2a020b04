/** A file import of the bundler: the value is the path of the file (absolute, or relative to the bundle). */
declare module '*.binpb' {
  const path: string;
  export default path;
}
