/** `envoy.path.match.uri_template`: filled in below. */
export class UriTemplate {
  readonly text: string;
  readonly literalPrefix: string;

  constructor(text: string) {
    this.text = text;
    this.literalPrefix = '';
  }

  matches(_path: string): boolean {
    return false;
  }
}

export class UriTemplateRewrite {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  apply(_template: UriTemplate, _path: string): string | null {
    return null;
  }
}
