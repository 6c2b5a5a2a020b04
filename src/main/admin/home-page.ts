import type { AdminEndpoint, AdminParameter, AdminResponse } from './admin-request.ts';

const STYLE = `
.home-table { font-family: sans-serif; font-size: medium; border-collapse: collapse; border-spacing: 0; }
.home-data { text-align: left; padding: 4px; }
.home-form { margin-bottom: 0; }
.button-as-link { background: none!important; border: none; padding: 0!important; font-family: sans-serif;
  font-size: medium; color: #069; text-decoration: underline; cursor: pointer; }
.gray { background-color: #dddddd; }
.vert-space { height: 4px; }
.option { padding: 4px 4px 4px 20px; text-align: right; }
`;

function escapeHtml(text: string): string {
  return text.replace(/[&<>'"]/g, (found) => `&#${found.charCodeAt(0)};`);
}

/** `/`: every endpoint with a form for its parameters. */
export function homePage(endpoints: readonly AdminEndpoint[]): AdminResponse {
  const rows = endpoints
    .filter((endpoint) => endpoint.path !== '/')
    .map((endpoint, index) => endpointRows(endpoint, index))
    .join('\n');
  return {
    status: 200,
    contentType: 'text/html; charset=UTF-8',
    body: `<!DOCTYPE html>
<html lang='en'>
<head>
  <title>Envoy Admin</title>
  <link rel='icon' href='data:,'>
  <style>${STYLE}</style>
</head>
<body>
  <table class='home-table'>
    <thead>
      <tr>
        <th class='home-data'>Command</th>
        <th class='home-data'>Description</th>
      </tr>
    </thead>
    <tbody>
${rows}
    </tbody>
  </table>
</body>
</html>
`,
  };
}

function endpointRows(endpoint: AdminEndpoint, index: number): string {
  const name = endpoint.path.slice(1);
  const row = index % 2 === 0 ? '<tr>' : "<tr class='gray'>";
  const help = escapeHtml(endpoint.help);
  const method = endpoint.mutates ? 'post' : 'get';
  // A plain link is enough where there is nothing to send.
  const trigger =
    !endpoint.mutates && endpoint.parameters.length === 0
      ? `<a href='${name}'>${name}</a>`
      : `<form action='${name}' method='${method}' id='${name}' class='home-form'>
    <button${endpoint.mutates ? '' : " class='button-as-link'"}>${name}</button>
  </form>`;
  const head = `<tr class='vert-space'><td></td><td></td></tr>
${row}
  <td class='home-data'>${trigger}</td>
  <td class='home-data'>${help}</td>
</tr>`;
  const options = endpoint.parameters.map((parameter) => {
    const id = `param-${index + 1}-${name.replaceAll('/', '-')}-${parameter.id}`;
    return `${row}
  <td class='option'>${input(parameter, id, name)}</td>
  <td class='home-data'><label for='${id}'>${escapeHtml(parameter.help)}</label></td>
</tr>`;
  });
  return [head, ...options].join('\n');
}

function input(parameter: AdminParameter, id: string, form: string): string {
  const common = `name='${parameter.id}' id='${id}' form='${form}'`;
  if (parameter.isFlag) return `<input type='checkbox' ${common}>`;
  if (parameter.values.length === 0) return `<input type='text' ${common} />`;
  const options = parameter.values.map((value) => `<option value='${value}'>${value}</option>`).join('');
  return `<select ${common}>${options}</select>`;
}
