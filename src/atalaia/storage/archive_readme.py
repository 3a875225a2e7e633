"""What a tenant's archive says of itself, to whoever opens it."""

README = """\
ATALAIA - ARQUIVO DE UM CLIENTE / ARCHIVE OF ONE CUSTOMER

== Português ==

Este arquivo contém tudo o que o serviço guarda de um cliente (tenant), como era em um único
momento: o de "taken_at" em manifest.json. Nada de outro cliente está aqui; senhas, chaves e links
também não, nem os seus hashes.

Cada arquivo .ndjson tem um objeto JSON por linha, em UTF-8; os horários são UTC. Números decimais
estão exatos: lidos de volta como double, são os mesmos bits. manifest.json diz de cada arquivo
quantas linhas e bytes tem e o seu SHA-256, e o que ficou de fora, com o motivo.

  tenant          o cliente: nome, limites, por quanto tempo guarda leituras
  users           pessoas: e-mail, papel, último acesso (dados pessoais)
  sessions        quando cada pessoa entrou e saiu
  api-keys        chaves de API, sem o segredo
  sensors         sensores, com suas tags (grupos e perfis são tags de mesmo nome), lugar e posição;
                  também os removidos
  series          o que cada sensor mede
  metrics         unidades
  profiles        perfis de sensores
  rules, rule-versions                  regras, e o que dizia cada versão
  alerts, alert-steps, alert-evidence   alertas, seus passos, e as leituras em que se basearam
                  (samples: base64 de pares int64 µs desde 1970 e float64, little-endian)
  readings/AAAA-MM   leituras, por mês (sensor_id distingue sensores de mesmo nome); linhas que
                  POST /v1/readings aceita, 50.000 de cada vez
  rollups         resumos por minuto, hora e dia de antes das leituras que ainda existem
  dead-letters    o que o banco de dados recusou (payload: base64)
  audit           quem fez o quê; hash encadeia as linhas
  mails           e-mails escritos, sem o conteúdo

LGPD: serve para confirmar o tratamento e dar acesso (art. 18, I e II) e para a portabilidade (art.
18, V). A eliminação (art. 18, VI) é outra operação: veja docs/how-to/export-and-erase.md.

Para levar as leituras a outro Atalaia, com o endereço em TO e uma chave em TO_KEY (export TO
TO_KEY):

  cat readings/*.ndjson | split -l 20000 --filter='curl -sS --fail-with-body --retry 9 \\
    "$TO/v1/readings" -H "X-API-Key: $TO_KEY" -H "Content-Type: application/x-ndjson" \\
    --data-binary @-; echo'

== English ==

Everything that the service keeps of one customer (tenant), as it was at one moment: "taken_at" in
manifest.json. Nothing of another customer is in it, and no passwords, keys or links, nor hashes of
them.

Each .ndjson file has one JSON object a line, in UTF-8; times are UTC. Numbers are exact: read as
doubles they are the same bits. manifest.json says of each file how many lines and bytes it has and
its SHA-256, and what was left out and why.

  tenant          the customer: name, quotas, how long readings are kept
  users           people: e-mail, role, last login (personal data)
  sessions        when each of them came and went
  api-keys        API keys without their secrets
  sensors         sensors with their tags (groups and profiles are the tags of these names), place
                  and position; also those that were removed
  series          what each sensor measures
  metrics         units
  profiles        profiles of sensors
  rules, rule-versions                  rules, and what each version said
  alerts, alert-steps, alert-evidence   alerts, their steps, and the readings they were opened on
                  (samples: base64 of pairs int64 µs since 1970 and float64, little-endian)
  readings/YYYY-MM   readings by month (sensor_id tells sensors of one name apart); lines that
                  POST /v1/readings takes, 50,000 at a time
  rollups         cells by the minute, hour and day from before the readings that still exist
  dead-letters    what the database refused (payload: base64)
  audit           who did what; hash chains the lines
  mails           mails that were written, without what is in them

To bring the readings to another Atalaia, with its address in TO and a key in TO_KEY (export TO
TO_KEY):

  cat readings/*.ndjson | split -l 20000 --filter='curl -sS --fail-with-body --retry 9 \\
    "$TO/v1/readings" -H "X-API-Key: $TO_KEY" -H "Content-Type: application/x-ndjson" \\
    --data-binary @-; echo'
"""
