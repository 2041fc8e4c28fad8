-- Written by: python -m dev.dbt_project
SELECT a.portal, a.parent_id, a.occurrence_start, m.occurrence_end, m.all_day, m.name, m.host_id, m.calendar,
  a.user_id, a.status, a.is_host, COALESCE(a.changed_at, a.first_seen) AS since, a.changed_at IS NOT NULL AS observed,
  a.last_seen
FROM {{ source('bitrix24', 'bitrix24_attendance') }} a
JOIN {{ source('bitrix24', 'bitrix24_meetings') }} m ON m.portal = a.portal AND m.parent_id = a.parent_id AND m.occurrence_start = a.occurrence_start
WHERE a.vanished_at IS NULL AND m.vanished_at IS NULL AND m.total IS NOT NULL
