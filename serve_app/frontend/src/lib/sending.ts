/** A request whose body is followed on its way out, which `fetch` does not offer. */

export interface Sent {
  headers: Record<string, string>;
  body: XMLHttpRequestBodyInit;
  signal: AbortSignal;
  onProgress: (sent: number, all: number) => void;
}

/** Send a body to this server; rejects as `fetch` does. */
export function send(method: string, path: string, { headers, body, signal, onProgress }: Sent): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = () => reject(new TypeError("The request failed"));
    request.open(method, path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onProgress(loaded, total);
    request.onload = () => {
      const type = request.getResponseHeader("content-type") ?? "";
      const after = request.getResponseHeader("retry-after");
      const answer = { "content-type": type, ...(after === null ? {} : { "retry-after": after }) };
      resolve(new Response(request.responseText, { status: request.status, headers: answer }));
    };
    request.onerror = request.onabort = fail;
    if (signal.aborted) return fail();
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });
}
