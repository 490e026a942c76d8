// A web server that wants an API key of its callers, and reads it anew when the agent touches a file.
import { createHash, timingSafeEqual } from 'node:crypto'
import { readFileSync, watch } from 'node:fs'
import { createServer } from 'node:http'

const digest = (text) => createHash('sha256').update(text).digest()
// Always a whole file: the agent replaces it by a rename.
const load = () => digest(readFileSync('/freshmount/secrets/api-key'))

// The directory, not the file, which is not there before the first change. First watch, then read: nothing is missed.
watch('/freshmount', (_, name) => {
  if (name !== 'changed') return
  try {
    key = load()
    console.log('read the key anew')
  } catch (error) {
    console.error(error.message) // the key before it stays
  }
})
let key = load()

createServer((request, response) => {
  const right = timingSafeEqual(digest(request.headers['x-api-key'] ?? ''), key)
  response.writeHead(right || request.url === '/healthz' ? 200 : 401).end()
}).listen(8080)

// The first process of a container has no default action for it.
process.on('SIGTERM', () => process.exit())
